package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// What SQLite takes from a write-ahead log ends at the first frame that is not as
// it should be: that is how a crash within a write looks. A log that was damaged
// or deleted looks so, too, and what was acknowledged would be missing without a
// word. So the log is looked at before SQLite sees it.

// The form of a log: a header, and frames, each with a header and a page. Numbers
// are big-endian; sums are over words in the order of bytes that the magic tells.
const (
	walMagic      = 0x377f0682 // the lowest bit: words of sums are big-endian
	walHeader     = 32
	frameHeader   = 24
	largestLog    = 256 << 20 // a longer one is not looked at: that would take too long
	shmHeader     = 48        // twice, then what was copied into the file
	shmFrames     = 16        // in the header: how many frames the log has
	shmCopied     = 96        // how many of them are in the file
	walIndexMagic = 3007000
)

// examineWAL refuses a file whose log has lost something that was acknowledged.
func (s *Store) examineWAL() error {
	lost, err := lostLog(s.path)
	if err != nil {
		return unavailable(err)
	}
	if lost {
		return &jobcontrol.Error{
			Code:    jobcontrol.Unavailable,
			Message: "store unavailable: " + s.name + "-wal is missing, with the latest writes: " + s.name + "-shm is there, which goes with it",
			Hint:    "bring it back, or restore a backup; to go on without them, remove " + s.name + "-shm",
		}
	}
	// Somebody may write while it is read: what is half written then is not where it
	// was at the next look. Damage stays.
	first := -1
	for i := range 5 {
		at, err := damagedLog(s.path + "-wal")
		if err != nil {
			return unavailable(err)
		}
		if i == 0 {
			first = at
		}
		if at < 0 || at != first {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return &jobcontrol.Error{
		Code:    jobcontrol.Unavailable,
		Message: "store unavailable: " + s.name + "-wal is damaged: there are writes behind the damage",
		Hint:    "restore a backup; to go on without what is behind: sqlite3 " + s.name + " 'PRAGMA wal_checkpoint(TRUNCATE)'",
	}
}

// lostLog tells whether a log is missing that had writes which are not in the
// file. SQLite makes a log before its index and removes it after that.
func lostLog(path string) (bool, error) {
	before, err := os.Stat(path + "-shm")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	// Nobody has the index open who has a log, so that its locks do not suffer.
	index, err := os.ReadFile(path + "-shm")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // the last one who used the file has just closed it
	}
	if err != nil {
		return false, err
	}
	after, err := os.Stat(path + "-shm")
	if err != nil || !os.SameFile(before, after) {
		return false, nil // likewise
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		return false, err // somebody else has just opened it
	}
	return ahead(index), nil
}

// ahead tells whether the index of a log names frames that are not in the file,
// or is no index.
func ahead(index []byte) bool {
	if len(index) < shmCopied+4 || bytes.Count(index[:shmHeader], []byte{0}) == shmHeader {
		return false // nothing was written yet
	}
	ne := binary.NativeEndian
	if ne.Uint32(index) != walIndexMagic || !bytes.Equal(index[:shmHeader], index[shmHeader:2*shmHeader]) {
		return true
	}
	return ne.Uint32(index[shmFrames:]) > ne.Uint32(index[shmCopied:])
}

// damagedLog tells which frame of a log is not as it should be and has whole
// transactions behind it; -1: none. A transaction is only begun when the one
// before is durable, so a crash leaves at most one there.
func damagedLog(path string) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < walHeader || info.Size() > largestLog {
		return -1, err
	}
	data, again := make([]byte, info.Size()), make([]byte, walHeader)
	for _, part := range [][]byte{data, again} {
		if _, err := f.ReadAt(part, 0); errors.Is(err, io.EOF) {
			return -1, nil // it was made smaller meanwhile
		} else if err != nil {
			return -1, err
		}
	}
	if !bytes.Equal(again, data[:walHeader]) {
		return -1, nil // it was begun anew meanwhile
	}
	return damagedFrame(data), nil
}

// walSum goes on with the sum of a log over words.
type walSum struct{ a, b uint32 }

func (s walSum) over(order binary.ByteOrder, data []byte) walSum {
	for ; len(data) >= 8; data = data[8:] {
		s.a += order.Uint32(data) + s.b
		s.b += order.Uint32(data[4:]) + s.a
	}
	return s
}

// frame is the header of a frame.
type frame struct {
	page, size uint32 // size: of the database, where a transaction ends; else 0
	salt       uint64 // that of the log's header, unless it is of a former one
	sum        walSum
}

// damagedFrame is damagedLog for the bytes of a log. A damaged header is frame 0.
func damagedFrame(data []byte) int {
	be := binary.BigEndian
	magic, page := be.Uint32(data), int(be.Uint32(data[8:]))
	salt, told := be.Uint64(data[16:]), walSum{be.Uint32(data[24:]), be.Uint32(data[28:])}
	var order binary.ByteOrder = binary.LittleEndian
	if magic&1 == 1 {
		order = be
	}
	if magic&^1 != walMagic || page < 512 || page > 65536 || page&(page-1) != 0 {
		if len(data) > walHeader && bytes.Count(data[:walHeader], []byte{0}) != walHeader {
			return 0
		}
		return -1
	}
	frames := (len(data) - walHeader) / (frameHeader + page)
	at := func(i int) (frame, []byte) {
		d := data[walHeader+i*(frameHeader+page):][:frameHeader+page]
		return frame{be.Uint32(d), be.Uint32(d[4:]), be.Uint64(d[8:]), walSum{be.Uint32(d[16:]), be.Uint32(d[20:])}}, d
	}
	follows := func(s walSum, d []byte) walSum { return s.over(order, d[:8]).over(order, d[frameHeader:]) }
	sum := walSum{}.over(order, data[:24])
	if sum != told {
		// A header is written within a sector, so a crash leaves it as a whole.
		if frames > 0 {
			if f, d := at(0); follows(told, d) == f.sum || follows(sum, d) == f.sum {
				return 0
			}
		}
		return -1
	}
	good := 0
	for ; good < frames; good++ {
		f, d := at(good)
		if f.page == 0 || f.salt != salt || follows(sum, d) != f.sum {
			break
		}
		sum = f.sum
	}
	var end frame // of a transaction behind that
	for i := good; i < frames; i++ {
		f, _ := at(i)
		if f.salt != salt {
			continue
		}
		// The last frame of a transaction may be repeated, to fill a sector.
		if end.size != 0 && (f.page != end.page || f.size != end.size) {
			return good
		}
		if f.size != 0 {
			end = f
		}
	}
	return -1
}
