package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// row is one line of the table.
type row struct {
	Measure    string  `json:"measure"`
	System     string  `json:"system"`
	Version    string  `json:"version"`
	Durability string  `json:"durability"`
	N          int64   `json:"n"`
	Unit       string  `json:"unit"`
	Value      summary `json:"value"`
	// Ratio says how many times better MorningAI is than this system in the
	// same run; on its own rows, than what the row compares with, or 0.
	Ratio float64 `json:"ratio,omitempty"`
	Fsync float64 `json:"fsync_per_second"`
	Load  float64 `json:"load"`
	// Goal is what the project promises, in words.
	Goal string `json:"goal,omitempty"`
}

func (r row) key() string { return r.Measure + " / " + r.System }

// summary is the median of the rounds with the least and the greatest.
type summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func summarize(values []float64) summary {
	if len(values) == 0 {
		return summary{}
	}
	v := slices.Sorted(slices.Values(values))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return summary{Median: mid, Min: v[0], Max: v[len(v)-1]}
}

// goals are the ratios that issue and documents name.
var goals = map[string]string{
	"end to end / river sqlite":                        "≥ 25×",
	"end to end / backlite":                            "≥ 6×",
	"enqueue, 16 producers / river sqlite":             "≥ 10×",
	"enqueue in bulk / river sqlite":                   "≥ 5×",
	"start latency p50 at 500/s / river sqlite":        "> 1×",
	"start latency p99 at 500/s / river sqlite":        "> 1×",
	"start latency p50 at 500/s / backlite":            "> 1×",
	"start latency p99 at 500/s / backlite":            "> 1×",
	"end to end / asynq":                               "≥ 4×",
	"enqueue, 16 producers / asynq":                    "≥ 1.2×",
	"enqueue in bulk / asynq":                          "≥ 3×",
	"end to end, enqueued one at a time / asynq":       "≥ 1.3×",
	"end to end, results kept 24 h / asynq":            "≥ 2×",
	"end to end: Redis CPU per task / asynq":           "≥ 4×",
	"enqueue in bulk: Redis memory per task / " + ours: "≤ 450 bytes",
	"start latency p50 at 500/s / asynq":               "> 1×",
	"end to end / " + withJournal:                      "≥ 0.6× of " + ours,
	"enqueue, 256 producers / " + withJournal:          "≥ 1.2× of asynq",
	"enqueue in bulk / " + withJournal:                 "≥ 2× of asynq",
	"start latency p99 at 500/s / asynq":               "> 1×",
	"start latency p50 at 500/s / " + ours:             "≤ 0.6 ms, quiet",
	"start latency p99 at 500/s / " + ours:             "≤ 3 ms, quiet",
}

// withRatios fills in how we compare with each peer's row of the same measure.
func withRatios(rows []row) []row {
	our, peer := map[string]float64{}, map[string]float64{}
	for _, r := range rows {
		if r.System == "asynq" {
			peer[r.Measure] = r.Value.Median
		}
		if r.System == ours {
			our[r.Measure] = r.Value.Median
		}
	}
	for i, r := range rows {
		rows[i].Goal = goals[r.key()]
		mine := our[r.Measure]
		if r.System == withJournal { // beside Redis alone, or where nothing runs beside asynq
			base := peer[r.Measure]
			if r.Measure == endToEnd {
				base = mine
			}
			if base > 0 && r.Unit == "tasks/s" {
				rows[i].Ratio = r.Value.Median / base
			}
			continue
		}
		if r.System == ours || mine == 0 || r.Value.Median == 0 {
			continue
		}
		if r.Unit != "tasks/s" { // less is better
			rows[i].Ratio = r.Value.Median / mine
		} else {
			rows[i].Ratio = mine / r.Value.Median
		}
	}
	return rows
}

func printTable(w io.Writer, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "measure\tsystem\tversion\tdurability\tN\tmedian\tmin … max\tunit\tratio\tgoal\tfsync/s\tload")
	last := ""
	for _, r := range rows {
		name := r.Measure
		if name == last {
			name = ""
		}
		last = r.Measure
		ratio := ""
		if r.Ratio != 0 {
			ratio = fmt.Sprintf("%.1f×", r.Ratio)
			if r.Ratio < 2 {
				ratio = fmt.Sprintf("%.2f×", r.Ratio)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s … %s\t%s\t%s\t%s\t%s\t%.1f\n", name, r.System, r.Version, r.Durability, r.N,
			number(r.Value.Median), number(r.Value.Min), number(r.Value.Max), r.Unit, ratio, r.Goal, number(r.Fsync), r.Load)
	}
	return t.Flush()
}

func number(f float64) string {
	switch a := math.Abs(f); {
	case a >= 100:
		return fmt.Sprintf("%.0f", f)
	case a >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// record is what ratios.json holds: the table of a full run.
type record struct {
	Recorded string `json:"recorded"` // date
	Machine  string `json:"machine"`
	Rounds   int    `json:"rounds"`
	Rows     []row  `json:"rows"`
}

func readRecord(path string) (record, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return record{}, fmt.Errorf("read the recorded table: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("read the recorded table %s: %w", path, err)
	}
	return r, nil
}

func writeRecord(path string, r record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// replaced returns the rows with those that were measured again in the place
// of the earlier ones.
func replaced(rows, second []row) []row {
	newer := map[string]row{}
	for _, r := range second {
		newer[r.key()] = r
	}
	out := slices.Clone(rows)
	for i, r := range out {
		if n, ok := newer[r.key()]; ok {
			out[i] = n
		}
	}
	return out
}

// fallenMeasures names the measures, as -only does, of the ratios that gate
// complains about. One that was not measured at all is none of them.
func fallenMeasures(recorded, now []row) []string {
	var names []string
	for _, r := range recorded {
		if len(gate([]row{r}, now)) == 0 || !slices.ContainsFunc(now, func(n row) bool { return n.key() == r.key() }) {
			continue
		}
		name := r.Measure
		switch {
		case strings.HasPrefix(name, latency):
			name = latency
		case r.System == ours:
			name = claims1M // the only ratio among our own rows
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// slack is how far below the recorded ratio a new one may lie.
const slack = 0.30

// gate compares ratios with the recorded ones and returns a line for each that
// has fallen too far, or that is missing.
func gate(recorded, now []row) []string {
	measured := map[string]float64{}
	for _, r := range now {
		measured[r.key()] = r.Ratio
	}
	var fallen []string
	for _, r := range recorded {
		if r.Ratio == 0 {
			continue
		}
		got, ok := measured[r.key()]
		switch least := r.Ratio * (1 - slack); {
		case !ok:
			fallen = append(fallen, fmt.Sprintf("%s: recorded as %.2f×, not measured", r.key(), r.Ratio))
		case got < least:
			fallen = append(fallen, fmt.Sprintf("%s: %.2f×, recorded as %.2f×, the least allowed is %.2f×", r.key(), got, r.Ratio, least))
		}
	}
	slices.SortFunc(fallen, func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return fallen
}
