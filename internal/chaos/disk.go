//go:build linux

package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// disk is a disk with a volatile cache, of which a power cut drops any part that
// was not flushed. It is a file in a FUSE file system of its own, which this
// process serves; a loop device on that file is what a kernel takes for a disk:
// its flushes arrive as fsync.
type disk struct {
	dir string // where the file system is mounted
	fd  int    // of /dev/fuse
	end sync.WaitGroup

	mu      sync.Mutex
	seen    []byte  // what a reader sees
	durable []byte  // what a power cut leaves for sure
	cached  []write // since the last flush, in order
	broken  bool    // every request fails
	flushes int
	left    int  // writes and flushes until one fails; 0: none does
	once    bool // that one alone; else broken is set then
}

// write is a write that was acknowledged and not flushed.
type write struct {
	at   int64
	data []byte
}

const (
	diskName   = "disk"
	sector     = 512
	maxWrite   = 1 << 20 // no request of the loop device is so long
	fuseBuffer = maxWrite + 4096
)

// openDisk serves a disk with the given content below dir, which it creates.
func openDisk(dir string, image []byte) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/fuse", err)
	}
	d := &disk{dir: dir, fd: fd, seen: append([]byte{}, image...), durable: append([]byte{}, image...)}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := syscall.Mount("chaos", dir, "fuse", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("mount fuse", err)
	}
	d.end.Go(d.serve)
	return d, nil
}

// path is the file that is the disk.
func (d *disk) path() string { return filepath.Join(d.dir, diskName) }

// fail makes every request fail from now on, as the power has gone.
func (d *disk) fail() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = true
}

// failAt makes the n-th write or flush from now fail; once: that one alone, else
// every request from then on.
func (d *disk) failAt(n int, once bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left, d.once = n, once
}

// failed tells whether the write or flush that failAt told has failed.
func (d *disk) failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.left == 0
}

// afterCut returns what the disk has when the power comes back: everything that
// was flushed, and of the rest what chance decides, sector by sector.
func (d *disk) afterCut(rng *rand.Rand) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = true
	image := append([]byte{}, d.durable...)
	kept := []float64{0, 0.1, 0.5, 0.9, 1}[rng.IntN(5)]
	prefix := rng.IntN(len(d.cached) + 1)
	ordered := rng.IntN(2) == 0 // a disk that keeps the order of its writes, or one that does not
	for i, w := range d.cached {
		for at := 0; at < len(w.data); at += sector {
			if keep := ordered && i < prefix || !ordered && rng.Float64() < kept; keep {
				copy(image[w.at+int64(at):], w.data[at:min(at+sector, len(w.data))])
			}
		}
	}
	return image
}

// close ends the file system; whoever still has it open gets errors.
func (d *disk) close() error {
	err := syscall.Unmount(d.dir, syscall.MNT_DETACH|syscall.MNT_FORCE)
	d.end.Wait()
	return os.NewSyscallError("unmount "+d.dir, errors.Join(err, syscall.Close(d.fd)))
}

// serve answers the kernel's requests until the file system is unmounted.
func (d *disk) serve() {
	buf := make([]byte, fuseBuffer)
	for {
		n, err := syscall.Read(d.fd, buf)
		if err == syscall.EINTR || err == syscall.EAGAIN || err == syscall.ENOENT {
			continue
		}
		if err != nil || n < fuseHeader {
			return // ENODEV: it is unmounted
		}
		d.handle(buf[:n])
	}
}

// The requests that such a file system gets, and their codes.
const (
	fuseLookup      = 1
	fuseForget      = 2
	fuseGetattr     = 3
	fuseSetattr     = 4
	fuseOpen        = 14
	fuseRead        = 15
	fuseWrite       = 16
	fuseStatfs      = 17
	fuseRelease     = 18
	fuseFsync       = 20
	fuseFlush       = 25
	fuseInit        = 26
	fuseInterrupt   = 36
	fuseDestroy     = 38
	fuseBatchForget = 42

	fuseHeader   = 40
	fuseRoot     = 1
	fuseFile     = 2
	fuseValidity = 3600 // seconds
)

// handle answers one request.
func (d *disk) handle(request []byte) {
	le := binary.LittleEndian
	code, unique, node := le.Uint32(request[4:]), le.Uint64(request[8:]), le.Uint64(request[16:])
	body := request[fuseHeader:]
	var out []byte
	var errno syscall.Errno
	switch code {
	case fuseForget, fuseBatchForget, fuseInterrupt:
		return
	case fuseInit:
		out = initReply(le.Uint32(body[4:]))
	case fuseLookup:
		if node != fuseRoot || string(body) != diskName+"\x00" {
			errno = syscall.ENOENT
			break
		}
		out = make([]byte, 40, 128)
		le.PutUint64(out, fuseFile)
		le.PutUint64(out[16:], fuseValidity)
		le.PutUint64(out[24:], fuseValidity)
		out = append(out, d.attributes(fuseFile)...)
	case fuseGetattr, fuseSetattr:
		out = make([]byte, 16, 104)
		le.PutUint64(out, fuseValidity)
		out = append(out, d.attributes(node)...)
	case fuseOpen:
		out = make([]byte, 16)
	case fuseStatfs:
		out = make([]byte, 80)
		le.PutUint32(out[40:], 4096)
		le.PutUint32(out[44:], 255)
	case fuseRead, fuseWrite, fuseFsync:
		out, errno = d.transfer(code, body)
	case fuseRelease, fuseFlush, fuseDestroy:
	default:
		errno = syscall.ENOSYS
	}
	reply := make([]byte, 16, 16+len(out))
	if errno == 0 {
		reply = append(reply, out...)
	}
	le.PutUint32(reply, uint32(len(reply)))
	le.PutUint32(reply[4:], uint32(-int32(errno)))
	le.PutUint64(reply[8:], unique)
	_, _ = syscall.Write(d.fd, reply) // an error: whoever asked has gone
}

// initReply accepts the protocol as the kernel has it.
func initReply(readahead uint32) []byte {
	le := binary.LittleEndian
	out := make([]byte, 64)
	le.PutUint32(out, 7)
	le.PutUint32(out[4:], 31)
	le.PutUint32(out[8:], readahead)
	const asyncRead, bigWrites, maxPages = 1 << 0, 1 << 5, 1 << 22
	le.PutUint32(out[12:], asyncRead|bigWrites|maxPages)
	le.PutUint16(out[16:], 16)
	le.PutUint16(out[18:], 12)
	le.PutUint32(out[20:], maxWrite)
	le.PutUint32(out[24:], 1)
	le.PutUint16(out[28:], maxWrite/4096)
	return out
}

// attributes are those of the root or the file.
func (d *disk) attributes(node uint64) []byte {
	le := binary.LittleEndian
	out := make([]byte, 88)
	le.PutUint64(out, node)
	mode := uint32(syscall.S_IFDIR | 0o700)
	if node == fuseFile {
		mode = syscall.S_IFREG | 0o600
		le.PutUint64(out[8:], uint64(len(d.seen)))
		le.PutUint64(out[16:], uint64(len(d.seen)/sector))
	}
	le.PutUint32(out[60:], mode)
	le.PutUint32(out[64:], 1)
	le.PutUint32(out[80:], 4096)
	return out
}

// transfer reads, writes or flushes.
func (d *disk) transfer(code uint32, body []byte) ([]byte, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if code != fuseRead && d.left > 0 {
		if d.left--; d.left == 0 {
			d.broken = !d.once
			return nil, syscall.EIO
		}
	}
	if d.broken {
		return nil, syscall.EIO
	}
	le := binary.LittleEndian
	if code == fuseFsync {
		for _, w := range d.cached {
			copy(d.durable[w.at:], w.data)
		}
		d.cached = nil
		d.flushes++
		return nil, 0
	}
	at, size := int64(le.Uint64(body[8:])), int64(le.Uint32(body[16:]))
	if at < 0 || at+size > int64(len(d.seen)) {
		if code == fuseWrite {
			return nil, syscall.ENOSPC
		}
		size = max(0, int64(len(d.seen))-at)
	}
	if code == fuseRead {
		return append([]byte{}, d.seen[at:at+size]...), 0
	}
	w := write{at, append([]byte{}, body[40:40+size]...)}
	copy(d.seen[at:], w.data)
	d.cached = append(d.cached, w)
	out := make([]byte, 8)
	le.PutUint32(out, uint32(size))
	return out, 0
}
