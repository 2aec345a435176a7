package cli

import (
	"context"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// buildPage is how many builds are held in memory at a time.
const buildPage = 2000

// eachBuild calls yield for the builds that the filter selects, newest first,
// until it returns false. They are read in pages of f.Limit builds, from one
// time of creation to the next: of a store whose clock was set back in between,
// builds from before that may be left out. A page grows where more builds were
// created at the same time.
func eachBuild(ctx context.Context, c jobcontrol.Reader, f jobcontrol.BuildFilter, yield func(*jobcontrol.Build) (bool, error)) error {
	for below := int64(0); ; {
		builds, err := c.Builds(ctx, f)
		if err != nil {
			return err
		}
		fresh := false
		for i := range builds {
			b := &builds[i]
			if below != 0 && b.ID >= below {
				continue
			}
			below, fresh = b.ID, true
			if more, err := yield(b); err != nil || !more {
				return err
			}
		}
		if len(builds) < f.Limit {
			return nil
		}
		f.Until = builds[len(builds)-1].CreatedAt.Add(time.Microsecond)
		if !fresh {
			f.Limit *= 2
		}
	}
}

// previousBuild returns the build of the same job before b, or NotFound.
func previousBuild(ctx context.Context, c jobcontrol.Reader, b *jobcontrol.Build) (*jobcontrol.Build, error) {
	var found int64
	f := jobcontrol.BuildFilter{Project: b.Project, Job: b.Job, Until: b.CreatedAt.Add(time.Microsecond), Limit: 10, Brief: true}
	err := eachBuild(ctx, c, f, func(other *jobcontrol.Build) (bool, error) {
		if other.ID < b.ID {
			found = other.ID
		}
		return found == 0, nil
	})
	switch {
	case err != nil:
		return nil, err
	case found == 0:
		return nil, &jobcontrol.Error{
			Code: jobcontrol.NotFound, Message: "build " + itoa(b.ID) + " is the first one of job " + b.Job + " that is kept",
			Hint: "name the build to compare it with: `jobcontrol builds diff N M`",
		}
	}
	return c.Build(ctx, found)
}
