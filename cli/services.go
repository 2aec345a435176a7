package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newServices(e *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "services",
		Short: "List services: their limits, and how many builds they have",
		Long: `List services: named queues with their own workers and limits. A job names its
service with ` + "`service:`" + `; the limits are described in the file under ` + "`services:`" + `, or set
at run time, which the file does not change any more (marked manual) until
` + "`services reset`" + `.

  concurrency  builds executed at a time, on all workers together; of one key
               where there is one
  rate         builds taken per time
  priority     added to that of its builds
  fallback     where a build goes for one more try that exceeded its soft timeout`,
		Example: `  jobcontrol services
  jobcontrol services set mail rate=10/m concurrency=2
  jobcontrol services pause mail`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return listServices(cmd.Context(), e) },
	}
	cmd.AddCommand(newServicesSet(e), newServicesReset(e))
	for _, c := range serviceSwitches {
		cmd.AddCommand(newServicesSwitch(e, c))
	}
	return cmd
}

// serviceJSON is a service.
type serviceJSON struct {
	Name           string   `json:"name"`
	Concurrency    int      `json:"concurrency"`
	Key            []string `json:"key"`
	KeyConcurrency int      `json:"key_concurrency"`
	Rate           int      `json:"rate"`
	RateSeconds    float64  `json:"rate_seconds"`
	Priority       int      `json:"priority"`
	Fallback       *string  `json:"fallback"`
	Paused         bool     `json:"paused"`
	Draining       bool     `json:"draining"`
	Manual         bool     `json:"manual"`
	Waiting        int      `json:"waiting"`
	Scheduled      int      `json:"scheduled"`
	Queued         int      `json:"queued"`
	Claimed        int      `json:"claimed"`
	Running        int      `json:"running"`
}

func newServiceJSON(s *jobcontrol.ServiceStatus) serviceJSON {
	out := serviceJSON{
		Name: s.Name, Concurrency: s.Concurrency, Key: orEmpty(s.Key), KeyConcurrency: s.KeyConcurrency,
		Rate: s.Rate, Priority: s.Priority, Fallback: orNull(s.Fallback), Paused: s.Paused, Draining: s.Draining, Manual: s.Manual,
		Waiting: s.Waiting, Scheduled: s.Scheduled, Queued: s.Queued, Claimed: s.Claimed, Running: s.Running,
	}
	if s.Rate > 0 {
		out.RateSeconds = s.RatePerOrDefault().Seconds()
	}
	return out
}

// withServices calls f after the store was told the services of the file.
func (e *environment) withServices(ctx context.Context, f func(s *opened) error) error {
	s, err := e.open(ctx, needServices, 0)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.describe(ctx); err != nil {
		return err
	}
	return f(s)
}

func listServices(ctx context.Context, e *environment) error {
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	all, err := s.client.Services(ctx)
	if err != nil {
		return err
	}
	all = withDescribed(all, s.services)
	if e.json() {
		out := make([]serviceJSON, len(all))
		for i := range all {
			out[i] = newServiceJSON(&all[i])
		}
		return e.document(out)
	}
	if len(all) == 0 {
		e.printf("no services")
		return nil
	}
	t := newTable("Service", "At a time", "Rate", "Priority", "Fallback", "Queued", "Running", "Scheduled", "Waiting", "Flags")
	for i := range all {
		v := &all[i]
		t.add(v.Name, limitText(&v.Service), rateText(&v.Service), numberCell(v.Priority), v.Fallback, numberCell(v.Queued),
			numberCell(v.Claimed+v.Running), numberCell(v.Scheduled), numberCell(v.Waiting), switchCell(&v.Service))
	}
	e.print(t.render(e.streams))
	return nil
}

// withDescribed adds services of the file that the store does not know yet: no
// worker has told it of them.
func withDescribed(all []jobcontrol.ServiceStatus, described []jobcontrol.Service) []jobcontrol.ServiceStatus {
	for _, d := range described {
		if !slices.ContainsFunc(all, func(s jobcontrol.ServiceStatus) bool { return s.Name == d.Name }) {
			all = append(all, jobcontrol.ServiceStatus{Service: d})
		}
	}
	slices.SortFunc(all, func(a, b jobcontrol.ServiceStatus) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// known are the names of services that the store or the file has; those of jobs
// and fallbacks count.
func (s *opened) known(all []jobcontrol.ServiceStatus) []string {
	names := s.serves(nil)
	for _, v := range withDescribed(all, s.services) {
		names = append(names, v.Name)
		if v.Fallback != "" {
			names = append(names, v.Fallback)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// noteUndescribed says which of the services nobody knows.
func (e *environment) noteUndescribed(ctx context.Context, s *opened, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	all, err := s.client.Services(ctx)
	if err != nil {
		return err
	}
	known := s.known(all)
	for _, name := range names {
		e.noteMissing(name, known)
	}
	return nil
}

// noteMissing says so if a service is not one of those that are known: it may be
// misspelt.
func (e *environment) noteMissing(name string, known []string) {
	if slices.Contains(known, name) {
		return
	}
	text := "the service " + name + " is not described"
	if hint := nearHint(name, known); hint != "" {
		text += "; " + hint
	}
	e.note("%s", text)
}

// nearHint asks whether a name was meant that resembles this one; "": none does.
func nearHint(name string, names []string) string {
	if near := jobcontrol.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

func numberCell(n int) cell {
	if n == 0 {
		return cell{text: "-", right: true}
	}
	return cell{text: strconv.Itoa(n), right: true}
}

// limitText says how many builds of a service are executed at a time.
func limitText(s *jobcontrol.Service) string {
	var parts []string
	if s.Concurrency > 0 {
		parts = append(parts, strconv.Itoa(s.Concurrency))
	}
	if s.KeyConcurrency > 0 {
		parts = append(parts, fmt.Sprintf("%d per %s", s.KeyConcurrency, strings.Join(s.Key, " ")))
	}
	if len(parts) == 0 {
		return "any"
	}
	return strings.Join(parts, ", ")
}

// rateText is a rate as it is written in the file.
func rateText(s *jobcontrol.Service) string {
	if s.Rate == 0 {
		return "any"
	}
	per := s.RatePerOrDefault()
	for unit, name := range map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h", 24 * time.Hour: "d"} {
		if per == unit {
			return fmt.Sprintf("%d/%s", s.Rate, name)
		}
	}
	text := per.String()
	for _, zeros := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zeros) {
			text = text[:len(text)-2]
		}
	}
	return fmt.Sprintf("%d/%s", s.Rate, text)
}

// switchCell says what is unusual about a service.
func switchCell(s *jobcontrol.Service) cell {
	var parts []string
	if s.Paused {
		parts = append(parts, "paused")
	}
	if s.Draining {
		parts = append(parts, "draining")
	}
	if s.Manual {
		parts = append(parts, "manual")
	}
	c := cell{text: strings.Join(parts, ", ")}
	if s.Paused || s.Draining {
		c.colour = yellow
	}
	return c
}
