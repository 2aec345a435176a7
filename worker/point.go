package worker

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
)

// at passes a fail point. What is injected there is like a store that is away:
// the term goes on when it is over.
func (t *term) at(name string) error {
	if !fault.Enabled {
		return nil
	}
	return t.persist(func(context.Context) error {
		if err := fault.Point(name); err != nil {
			return &jobcontrol.Error{Code: jobcontrol.Unavailable, Message: "store unavailable", Cause: err}
		}
		return nil
	})
}
