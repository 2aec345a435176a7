package executor

import "time"

// Guardian is the process that ends the trees of commands when this process is
// killed or stopped.
type Guardian struct{}

// NewGuardian prepares a guardian; argv re-executes this program.
func NewGuardian(argv []string) *Guardian { return &Guardian{} }

// Close ends the guardian.
func (g *Guardian) Close() {}

func (g *Guardian) workerToken() string                               { return "" }
func (g *Guardian) ready(s *spawner)                                  {}
func (g *Guardian) watch(pid int, token string, deadline time.Time)   {}
func (g *Guardian) forget(pid int)                                    {}
