package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/chaos"
	"github.com/RC918/morningai/internal/drill"
)

type drillCmd struct {
	Scenario []string      `default:"all" placeholder:"NAME" help:"What to stage: all, or names as --list shows them; may be repeated (${default})."`
	Seed     uint64        `placeholder:"N" help:"Seed of what is left to chance; one by chance unless given."`
	Duration time.Duration `default:"4s" placeholder:"D" help:"How long each fault lasts, 1s to 10m (${default})."`
	Keep     string        `default:"drill" type:"path" placeholder:"DIR" help:"Folder for the histories and logs of scenarios that fail (${default})."`
	Check    string        `type:"existingfile" placeholder:"FILE" help:"Check a history that was kept once more, and stage nothing."`
	List     bool          `help:"List the scenarios."`
	JSON     bool          `name:"json" help:"Print the results as JSON."`
}

const maxFault = 10 * time.Minute

// Run stages outages, and fails if a promise broke or a run proved nothing.
func (c *drillCmd) Run(ctx context.Context, s streams) error {
	switch {
	case c.Check != "":
		return c.replay(s)
	case c.List && c.JSON:
		list := []map[string]string{}
		for _, n := range chaos.Names() {
			list = append(list, map[string]string{"scenario": n[0], "what": n[1]})
		}
		return printValue(s, map[string]any{"scenarios": list})
	case c.List:
		rows := [][]string{{"SCENARIO", "WHAT HAPPENS"}}
		for _, n := range chaos.Names() {
			rows = append(rows, n[:])
		}
		return show(s.out, table(rows))
	case c.Duration < time.Second || c.Duration > maxFault:
		return usage("--duration must be 1s to 10m", "")
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program itself: %w", err)
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()>>32 | 1
	}
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	progress := newBar(s.err, "")
	steps, scenario := 0, ""
	config := chaos.Config{Program: program, Scenarios: c.Scenario, Seed: c.Seed, Duration: c.Duration, Keep: c.Keep,
		Began: func(name string, nth, of int) {
			if nth == 0 {
				fmt.Fprintf(s.err, "seed %d; servers and Redis are started for the drill and removed after it\n", c.Seed)
			}
			scenario, steps = name, of*drillSteps
			progress.describe(name)
			progress.set(nth*drillSteps, steps)
		},
		Moved: func(step string) {
			progress.describe(scenario + ": " + step)
			progress.add(1)
		},
		Ended: func(r chaos.Result) {
			if progress.tty {
				return
			}
			fmt.Fprintf(s.err, "%s: %s\n", r.Scenario, plainVerdict(&r))
		}}
	results, err := chaos.Run(ctx, config)
	progress.clear()
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("the drill was interrupted after %d scenarios", len(results))
	}
	if len(results) > 0 {
		if printErr := c.print(s, results); err == nil {
			err = printErr
		}
	}
	return err
}

// drillSteps is how many steps a scenario tells of.
const drillSteps = 5

func (c *drillCmd) print(s streams, results []chaos.Result) error {
	failed, void, skipped := 0, 0, 0
	for i := range results {
		switch {
		case results[i].Skipped != "":
			skipped++
		case results[i].Failed():
			failed++
		case results[i].Void != "":
			void++
		}
	}
	if c.JSON {
		if err := printValue(s, map[string]any{"seed": c.Seed, "duration": c.Duration.String(), "scenarios": results, "failed": failed, "void": void, "skipped": skipped}); err != nil {
			return err
		}
	} else if err := show(s.out, drillTable(results)+c.summary(results, failed, void, skipped)); err != nil {
		return err
	}
	if failed+void > 0 || skipped == len(results) {
		return ended(exitFailed)
	}
	return nil
}

func drillTable(results []chaos.Result) string {
	rows := [][]string{{"SCENARIO", "ACCEPTED", "RAN", "REPEATED", "LOST", "WRONG STATUS", "NOTICED AFTER", "RECOVERED AFTER", "VERDICT"}}
	for i := range results {
		r := &results[i]
		verdict := good.Render("kept")
		switch {
		case r.Failed():
			verdict = bad.Render("broken")
		case r.Void != "":
			verdict = warn.Render("void")
		case r.Skipped != "":
			verdict = warn.Render("skipped")
		}
		rows = append(rows, []string{r.Scenario, fmt.Sprint(r.Accepted), fmt.Sprint(r.Ran), fmt.Sprint(r.Repeated), fmt.Sprint(r.Lost), fmt.Sprint(r.WrongStatus),
			spanText(r.NoticedAfter), spanText(r.RecoveredAfter), verdict})
	}
	return table(rows)
}

func spanText(s *chaos.Span) string {
	if s == nil {
		return "-"
	}
	return time.Duration(*s).Round(10 * time.Millisecond).String()
}

// summary tells what a table has no room for.
func (c *drillCmd) summary(results []chaos.Result, failed, void, skipped int) string {
	var b strings.Builder
	for i := range results {
		r := &results[i]
		if r.Failed() || r.Void != "" || r.Skipped != "" {
			fmt.Fprintf(&b, "\n%s: %s\n", r.Scenario, plainVerdict(r))
		}
		if r.History != "" {
			fmt.Fprintf(&b, "  its history is %s; morningai drill --check %s reads it again\n", r.History, r.History)
		}
		if len(r.Faults) > 0 {
			fmt.Fprintf(&b, "\n%s: %d operations", r.Scenario, r.Operations)
			for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
				fmt.Fprintf(&b, ", %d × %s", r.Faults[name], name)
			}
			b.WriteString("\n")
		}
		if r.Refused > 0 {
			fmt.Fprintf(&b, "\n%s: %d requests were refused, and none of them left a trace\n", r.Scenario, r.Refused)
		}
	}
	fmt.Fprintf(&b, "\nseed %d, faults of %s: %d of %d scenarios kept every promise", c.Seed, c.Duration, len(results)-failed-void-skipped, len(results))
	if failed > 0 {
		fmt.Fprintf(&b, ", %d broke one", failed)
	}
	if void > 0 {
		fmt.Fprintf(&b, ", %d are void", void)
	}
	if skipped > 0 {
		fmt.Fprintf(&b, ", %d were skipped", skipped)
	}
	b.WriteString("\n")
	return b.String()
}

func plainVerdict(r *chaos.Result) string {
	switch {
	case r.Failed():
		return strings.Join(r.Broken, "\n  ")
	case r.Void != "":
		return "void: " + r.Void
	case r.Skipped != "":
		return "skipped: " + r.Skipped
	}
	return fmt.Sprintf("every promise was kept; %d accepted, %d ran, %d repeated, %d lost", r.Accepted, r.Ran, r.Repeated, r.Lost)
}

// replay checks a history that was kept.
func (c *drillCmd) replay(s streams) error {
	file, err := os.Open(c.Check)
	if err != nil {
		return fmt.Errorf("open the history: %w", err)
	}
	defer file.Close()
	broken, counted, ops, err := chaos.Replay(file)
	if err != nil {
		return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "drill", Detail: "the file is no history of a drill", Hint: "give one that a drill has kept, its name ends in .history", Err: err}
	}
	if c.JSON {
		if broken == nil {
			broken = []drill.Violation{}
		}
		if counted == nil {
			counted = []string{}
		}
		if err := printValue(s, map[string]any{"operations": ops, "broken": broken, "counted": counted}); err != nil {
			return err
		}
	} else {
		for _, v := range broken {
			fmt.Fprintln(s.out, v)
		}
		for _, text := range counted {
			fmt.Fprintf(s.out, "seen by the drill, not by the history: %s\n", text)
		}
		fmt.Fprintf(s.out, "%d operations, %d broken promises\n", ops, len(broken)+len(counted))
	}
	if len(broken)+len(counted) > 0 {
		return ended(exitFailed)
	}
	return nil
}
