//go:build linux

package chaos

import "context"

// Play executes the plan for what is wanted, a scenario after the other, and
// returns the sum of their figures, what they violated, and, with the reason,
// what cannot be done on this machine.
func (w Wanted) Play(ctx context.Context, dir string, seed uint64) (sum Figures, found []Violation, skipped []string, err error) {
	s := &servers{}
	defer func() {
		if cerr := s.close(); err == nil {
			err = cerr
		}
	}()
	p := w.scenarios(seed, nil)
	sum = Figures{}
	for _, one := range p.list {
		out, err := one.Run(ctx, dir, s)
		if err != nil {
			return sum, found, p.skipped, err
		}
		sum.add(out.Figures)
		found = append(found, out.Violations...)
	}
	return sum, found, p.skipped, nil
}

// MountFUSE mounts a file system of this process at dir, which it creates, and
// returns what takes it away. It tells why where that cannot be done here.
func MountFUSE(dir string) (remove func() error, why string, err error) {
	if why := canCutPower(); why != "" {
		return nil, why, nil
	}
	d, err := openDisk(dir, make([]byte, sector))
	if err != nil {
		return nil, "", err
	}
	return d.close, "", nil
}
