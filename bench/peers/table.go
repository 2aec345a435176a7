package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// printTable writes what was measured as one Markdown table.
func printTable(w io.Writer, machine []string, results []result) {
	for _, line := range machine {
		fmt.Fprintf(w, "* %s\n", line)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "| measure | system | median | worst – best | ours ÷ peer | must | | CPU µs/job, client + server | WAL B/job | others' CPU % | fsync/s | exec/s |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range results {
		for i, s := range r.systems {
			name := ""
			if i == 0 {
				name = r.name + ": " + r.what
			}
			fmt.Fprintf(w, "| %s | %s |\n", name, r.row(s))
		}
	}
}

func (r result) row(s system) string {
	figures := r.figures[s.name]
	medians := map[string]float64{}
	for _, c := range r.columns {
		medians[c] = r.median(s.name, c)
	}
	ratio, must, verdict := "", "", ""
	if s.ours {
		if x := r.ratio(); x > 0 {
			ratio = number(x) + " ×"
			if x := r.ratioTo(r.against); x > 0 {
				ratio += ", " + number(x) + " ×"
			}
		}
		if x := r.cheaper(); x > 0 {
			ratio += " (CPU " + number(x) + " ×)"
		}
		if must = r.must; !r.ok() {
			verdict = "MISSED"
		} else if r.reached != nil {
			verdict = "reached"
		}
	}
	cpu := either(median(figures, func(f figure) float64 { return f.Client })) + " + " +
		either(median(figures, func(f figure) float64 { return f.Server }))
	return strings.Join([]string{
		s.name, r.text(medians), r.spread(s.name), ratio, must, verdict, cpu,
		either(median(figures, func(f figure) float64 { return f.WAL })),
		either(median(figures, func(f figure) float64 { return f.Others })),
		number(median(figures, func(f figure) float64 { return f.Fsyncs })), number(r.execs),
	}, " | ")
}

// text is a round's values with their units.
func (m measure) text(values map[string]float64) string {
	var parts []string
	for _, c := range m.columns {
		switch name, unit, named := strings.Cut(c, " "); {
		case named:
			parts = append(parts, name+" "+number(values[c])+" "+unit)
		default:
			parts = append(parts, number(values[c])+" "+c)
		}
	}
	return strings.Join(parts, ", ")
}

// spread is the worst and the best of the first column.
func (r result) spread(system string) string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, f := range r.figures[system] {
		low, high = min(low, f.Values[r.columns[0]]), max(high, f.Values[r.columns[0]])
	}
	if r.less {
		low, high = high, low
	}
	return number(low) + " – " + number(high)
}

// either is a number, or a dash where nothing was measured.
func either(v float64) string {
	if v < 0 {
		return "–"
	}
	return number(v)
}

// number has three digits that count, or all of a larger whole part, in groups.
func number(v float64) string {
	switch {
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// row is a system's figures in the JSON file.
type row struct {
	Measure string             `json:"measure"`
	What    string             `json:"what"`
	System  string             `json:"system"`
	Ours    bool               `json:"ours,omitempty"`
	Median  map[string]float64 `json:"median"`
	Client  float64            `json:"client_cpu_us_per_job"`
	Server  float64            `json:"server_cpu_us_per_job"`
	WAL     float64            `json:"wal_bytes_per_job"`
	Fsyncs  float64            `json:"fsyncs_per_second"`
	Others  float64            `json:"others_cpu_percent"`
	Execs   float64            `json:"execs_per_second"`
	Ratio   float64            `json:"ratio,omitempty"`
	Cheaper float64            `json:"cpu_ratio,omitempty"`
	Must    string             `json:"must,omitempty"`
	Reached *bool              `json:"reached,omitempty"`
	Rounds  []figure           `json:"rounds"`
}

func writeJSON(path string, machine []string, results []result) error {
	out := struct {
		Machine  []string `json:"machine"`
		Revision string   `json:"revision,omitempty"`
		Rows     []row    `json:"rows"`
	}{Machine: machine, Revision: revision()}
	for _, r := range results {
		for _, s := range r.systems {
			f := r.figures[s.name]
			w := row{
				Measure: r.name, What: r.what, System: s.name, Ours: s.ours, Median: map[string]float64{}, Execs: r.execs, Rounds: f,
				Client: median(f, func(f figure) float64 { return f.Client }), Server: median(f, func(f figure) float64 { return f.Server }),
				WAL: median(f, func(f figure) float64 { return f.WAL }), Others: median(f, func(f figure) float64 { return f.Others }), Fsyncs: median(f, func(f figure) float64 { return f.Fsyncs }),
			}
			for _, c := range r.columns {
				w.Median[c] = r.median(s.name, c)
			}
			if s.ours {
				w.Ratio, w.Cheaper, w.Must = r.ratio(), r.cheaper(), r.must
				if ok := r.ok(); r.reached != nil {
					w.Reached = &ok
				}
			}
			out.Rows = append(out.Rows, w)
		}
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
