package cli

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
)

// buildPage is how many builds are held in memory at a time.
const buildPage = 2000

// eachBuild calls yield for the builds that the filter selects, newest first,
// until it returns false. They are read in pages of f.Limit builds, each below the
// last id of the one before.
func eachBuild(ctx context.Context, c jobcontrol.Reader, f jobcontrol.BuildFilter, yield func(*jobcontrol.Build) (bool, error)) error {
	for {
		builds, err := c.Builds(ctx, f)
		if err != nil {
			return err
		}
		for i := range builds {
			if more, err := yield(&builds[i]); err != nil || !more {
				return err
			}
		}
		if len(builds) < f.Limit {
			return nil
		}
		f.Before = builds[len(builds)-1].ID
	}
}

// previousBuild returns the build of the same job before b, or NotFound.
func previousBuild(ctx context.Context, c jobcontrol.Reader, b *jobcontrol.Build) (*jobcontrol.Build, error) {
	found, err := c.Builds(ctx, jobcontrol.BuildFilter{Project: b.Project, Job: b.Job, Before: b.ID, Limit: 1, Brief: true})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, &jobcontrol.Error{
			Code: jobcontrol.NotFound, Message: "build " + itoa(b.ID) + " is the first one of job " + b.Job + " that is kept",
			Hint: "name the build to compare it with: `jobcontrol builds diff N M`",
		}
	}
	return c.Build(ctx, found[0].ID)
}
