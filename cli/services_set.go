package cli

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config"
)

func newServicesSet(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME KEY=VALUE...",
		Short: "Change a service at run time, on all workers at once",
		Long: `Change a service at run time. Workers heed it with the next build that they take;
what is being executed goes on. The file does not change it any more until
` + "`services reset NAME`" + `. A key without a value has its default again.

  concurrency=N  key=PATH,…  key_concurrency=N  rate=100/s  priority=N
  fallback=NAME  paused=yes|no  draining=yes|no`,
		Example: `  jobcontrol services set crawl key=kwargs.site key_concurrency=1
  jobcontrol services set mail rate=10/m
  jobcontrol services set mail rate=`,
		Args: arguments(2, -1, "a service and what to change: key=value"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return setService(cmd.Context(), e, args[0], func(s *jobcontrol.Service) error { return assign(s, args[1:]) })
		},
	}
}

// setService changes a service as it is now, or one that nobody described.
func setService(ctx context.Context, e *environment, name string, change func(*jobcontrol.Service) error) error {
	if err := jobcontrol.CheckName("service", name); err != nil {
		return err
	}
	if err := change(&jobcontrol.Service{Name: name}); err != nil {
		return err // before anything is opened
	}
	return e.withServices(ctx, func(s *opened) error {
		all, err := s.client.Services(ctx)
		if err != nil {
			return err
		}
		e.noteMissing(name, s.known(all))
		var described []jobcontrol.Service
		status := jobcontrol.ServiceStatus{Service: jobcontrol.Service{Name: name}}
		for i := range all {
			if all[i].Name == name {
				status = all[i]
			} else {
				described = append(described, all[i].Service)
			}
		}
		if err := change(&status.Service); err != nil {
			return err
		}
		if status.Manual = false; s.read && s.isDescribed(&status.Service) { // as the file says: nothing is manual any more
			return e.resetTo(ctx, s, name)
		}
		status.Manual = true
		if err := jobcontrol.CheckServices(append(described, status.Service)); err != nil {
			return err
		}
		if err := s.client.PutServices(ctx, []jobcontrol.Service{status.Service}); err != nil {
			return err
		}
		return e.showService(&status)
	})
}

// isDescribed tells whether a service is what the file says of it.
func (s *opened) isDescribed(v *jobcontrol.Service) bool {
	want := jobcontrol.Service{Name: v.Name}
	for i := range s.services {
		if s.services[i].Name == v.Name {
			want = s.services[i]
		}
	}
	return reflect.DeepEqual(want, *v)
}

// showService says how a service is now.
func (e *environment) showService(s *jobcontrol.ServiceStatus) error {
	if e.json() {
		return e.document(newServiceJSON(s))
	}
	text := fmt.Sprintf("service %s: %s at a time, rate %s", s.Name, limitText(&s.Service), rateText(&s.Service))
	if s.Priority != 0 {
		text += ", priority " + strconv.Itoa(s.Priority)
	}
	if s.Fallback != "" {
		text += ", fallback " + s.Fallback
	}
	if c := switchCell(&s.Service); c.text != "" {
		text += ", " + c.text
	}
	e.printf("%s", line(text))
	return nil
}

// serviceValues are the keys of a service and how each is set from a text.
var serviceValues = map[string]func(s *jobcontrol.Service, text string) error{
	"concurrency":     func(s *jobcontrol.Service, text string) error { return setNumber(&s.Concurrency, text) },
	"key_concurrency": func(s *jobcontrol.Service, text string) error { return setNumber(&s.KeyConcurrency, text) },
	"priority":        func(s *jobcontrol.Service, text string) error { return setNumber(&s.Priority, text) },
	"fallback":        func(s *jobcontrol.Service, text string) error { s.Fallback = text; return nil },
	"paused":          func(s *jobcontrol.Service, text string) error { return setBoolean(&s.Paused, text) },
	"draining":        func(s *jobcontrol.Service, text string) error { return setBoolean(&s.Draining, text) },
	"key": func(s *jobcontrol.Service, text string) error {
		if s.Key = nil; text != "" {
			s.Key = strings.Split(text, ",")
		}
		for _, path := range s.Key {
			if err := config.CheckPath(path); err != nil {
				return err // with its hint
			}
		}
		return nil
	},
	"rate": func(s *jobcontrol.Service, text string) (err error) {
		if s.Rate, s.RatePer = 0, 0; text != "" {
			s.Rate, s.RatePer, err = config.ParseRate(text)
		}
		return err
	},
}

// assign sets what key=value says.
func assign(s *jobcontrol.Service, assignments []string) error {
	for _, text := range assignments {
		key, v, ok := strings.Cut(text, "=")
		set := serviceValues[key]
		switch names := sortedKeys(serviceValues); {
		case !ok:
			return usage("such as concurrency=4; `jobcontrol services set --help` lists the keys", "%q is not key=value", text)
		case set == nil:
			return usage(cmp.Or(nearHint(key, names), "known are "+strings.Join(names, ", ")), "a service has no key %q", key)
		}
		switch err := set(s, strings.TrimSpace(v)); {
		case jobcontrol.HintOf(err) != "":
			return err
		case err != nil:
			return usage("`jobcontrol services set --help` lists the keys", "%s: %v", key, err)
		}
	}
	return nil
}

func setNumber(to *int, text string) error {
	*to = 0
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%q is no whole number", text)
	}
	*to = n
	return nil
}

func setBoolean(to *bool, text string) error {
	switch {
	case slices.Contains([]string{"yes", "true", "on"}, text):
		*to = true
	case slices.Contains([]string{"no", "false", "off", ""}, text):
		*to = false
	default:
		return fmt.Errorf("%q is not yes or no", text)
	}
	return nil
}

// serviceSwitch is a command that switches something of a service.
type serviceSwitch struct {
	name, short, long string
	change            func(*jobcontrol.Service)
}

var serviceSwitches = []serviceSwitch{
	{
		"pause", "Let nothing of a service be taken until it is resumed",
		"Let nothing of a service be taken; what is being executed goes on.",
		func(s *jobcontrol.Service) { s.Paused = true },
	},
	{
		"resume", "Go on with a service that is paused or draining",
		"Go on with a service that is paused or draining.",
		func(s *jobcontrol.Service) { s.Paused, s.Draining = false, false },
	},
	{
		"drain", "Let a service accept nothing new, and execute what is there",
		"Let a service accept nothing new: who asks for a build is refused. What is there is executed.",
		func(s *jobcontrol.Service) { s.Draining = true },
	},
}

func newServicesSwitch(e *environment, c serviceSwitch) *cobra.Command {
	return &cobra.Command{
		Use:   c.name + " NAME",
		Short: c.short,
		Long:  c.long,
		Args:  arguments(1, 1, "a service"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return setService(cmd.Context(), e, args[0], func(s *jobcontrol.Service) error {
				c.change(s)
				return nil
			})
		},
	}
}

func newServicesReset(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "reset NAME",
		Short: "Forget what was set at run time: the file's description holds again",
		Long: `Forget what was set at run time: the file's description of the service holds
again. Exit status 3 if neither the store nor the file knows the service.`,
		Args: arguments(1, 1, "a service"),
		RunE: func(cmd *cobra.Command, args []string) error { return resetService(cmd.Context(), e, args[0]) },
	}
}

func resetService(ctx context.Context, e *environment, name string) error {
	if err := jobcontrol.CheckName("service", name); err != nil {
		return err
	}
	if e.withoutFile(needServices) {
		return usage("-c names the file that describes it", "services reset: no file says what the service %s is", name)
	}
	return e.withServices(ctx, func(s *opened) error {
		all, err := s.client.Services(ctx)
		if err != nil {
			return err
		}
		if known := s.known(all); !slices.Contains(known, name) {
			return &jobcontrol.Error{
				Code: jobcontrol.NotFound, Message: fmt.Sprintf("no such service: %q", name), Hint: cmp.Or(nearHint(name, known), "`jobcontrol services` lists them"),
			}
		}
		return e.resetTo(ctx, s, name)
	})
}

// resetTo makes a service what the file says of it, and shows it.
func (e *environment) resetTo(ctx context.Context, s *opened, name string) error {
	var as *jobcontrol.Service
	if i := slices.IndexFunc(s.services, func(v jobcontrol.Service) bool { return v.Name == name }); i >= 0 {
		as = &s.services[i]
	}
	if err := s.client.ResetService(ctx, name, as); err != nil {
		return err
	}
	all, err := s.client.Services(ctx)
	if err != nil {
		return err
	}
	status := jobcontrol.ServiceStatus{Service: jobcontrol.Service{Name: name}}
	for i := range all {
		if all[i].Name == name {
			status = all[i]
		}
	}
	return e.showService(&status)
}
