package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol/server"
	"github.com/jobcontrol/jobcontrol/worker"
)

func newServe(e *environment) *cobra.Command {
	var o workerOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the store: execute the builds of all services",
		Long: `Serve a store: execute the builds of all services that it knows, promote
scheduled ones, take over what dead workers left, and once an hour remove what
the file's retention: says. One serve works on an SQLite file at a time; workers may help it. It stops as a worker does (see
jobcontrol worker --help).`,
		Example: `  jobcontrol serve
  jobcontrol --storage postgresql://db/jobs serve -j 16`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return serve(cmd.Context(), e, o)
		},
	}
	o.flags(cmd)
	return cmd
}

func serve(ctx context.Context, e *environment, o workerOptions) error {
	s, err := e.openWorker(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	known, err := s.client.Services(ctx)
	if err != nil {
		return err
	}
	o.services = s.serves(nil)
	for i := range known {
		o.services = append(o.services, known[i].Name)
	}
	cfg := server.Config{Pool: o.pool(e, s)}
	cfg.Pool.AllServices = true // also those that come into being later
	slices.Sort(cfg.Pool.Services)
	cfg.Pool.Services = slices.Compact(cfg.Pool.Services)
	if s.place.path != "" {
		cfg.Lock = s.place.path + ".serve"
	}
	if cfg.Retention = s.retention; !s.retention.Empty() {
		if _, err := e.pruner(s); err != nil {
			return err
		}
		cfg.Pruner = func() *worker.Pruner {
			p, _ := e.pruner(s) // it was possible just now
			return p
		}
	}
	aborted := e.stopsLikeAWorker(&cfg.Pool, o.grace)
	defer e.worker.Store(nil)
	v, err := server.New(cfg)
	if err != nil {
		return err
	}
	defer v.Close()
	go e.noteServes(ctx, v.Ready(), servesText(cfg.Pool.Services, o.parallel, s.place))
	if err := v.Run(ctx); err != nil {
		return err
	}
	return stopped(aborted)
}
