//go:build !linux

package executor

import (
	"context"
	"log/slog"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// Elsewhere than on Linux only functions are executed.

const onlyLinux = "commands can be executed on Linux only"

type commands struct{}

func newCommands(Config, *slog.Logger) *commands { return &commands{} }

func (m *commands) execute(context.Context, *jobcontrol.Call) (any, error) {
	return nil, userFailure(onlyLinux)
}

func (m *commands) prepare(*jobcontrol.Call) *held { return nil }

func (m *commands) close() {}

// A held command exists on Linux only.
type held struct {
	jobcontrol.Prepared
	ended func()
}

// Guardian does nothing here: there are no commands.
type Guardian struct{}

// NewGuardian returns a guardian, which does nothing.
func NewGuardian([]string) *Guardian { return &Guardian{} }

// Then does nothing.
func (g *Guardian) Then([]string) {}

// Trust does nothing.
func (g *Guardian) Trust(time.Time) {}

// Close does nothing.
func (g *Guardian) Close() {}

// EndLeft does nothing.
func EndLeft(context.Context, int, uint64) error { return nil }

// Child does nothing.
func Child() {}

// NewTeller fails: there are no commands to use it in.
func NewTeller() (*Teller, error) { return nil, jobcontrol.Errorf(jobcontrol.Invalid, onlyLinux) }

func (t *Teller) ask(context.Context, message) (reply, error) {
	return reply{}, jobcontrol.Errorf(jobcontrol.Invalid, onlyLinux)
}
