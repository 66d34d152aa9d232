package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redisproc"
)

// Config says what is staged.
type Config struct {
	Program   string        // the morningai binary
	Scenarios []string      // by name; none: all
	Seed      uint64        // of everything that is left to chance
	Duration  time.Duration // of each fault
	Keep      string        // the folder for histories and logs of scenarios that fail
	// Began and Moved tell of the progress, if they are not nil; Ended of a result.
	Began func(name string, nth, of int)
	Moved func(step string)
	Ended func(Result)
}

// Result is what came of one scenario.
type Result struct {
	Scenario string `json:"scenario"`
	What     string `json:"what"`
	// Rate is how many operations a second clients made before the fault, Saw how
	// many of those made during it were answered otherwise, or late.
	Rate float64 `json:"rate"`
	Saw  int     `json:"saw"`
	// Tasks by what became of them. Unsure are those whose requests had no answer.
	Accepted    int `json:"accepted"`
	Refused     int `json:"refused"`
	Unsure      int `json:"unsure"`
	Ran         int `json:"ran"`
	Repeated    int `json:"repeated"`
	Lost        int `json:"lost"`
	WrongStatus int `json:"wrong_status"`
	Incidents   int `json:"incidents"` // the most that one server reports
	// NoticedAfter is nil if no server made an outage of it.
	NoticedAfter   *Span          `json:"noticed_after"`
	RecoveredAfter *Span          `json:"recovered_after"`
	Operations     int            `json:"operations"`        // on record
	Faults         map[string]int `json:"faults,omitempty"`  // of a mix, by kind
	Skipped        string         `json:"skipped,omitempty"` // why this machine cannot stage it
	Void           string         `json:"void,omitempty"`    // why it proves nothing
	Broken         []string       `json:"broken,omitempty"`  // promises
	History        string         `json:"history,omitempty"`
}

// Span is a duration that is written as in the API.
type Span time.Duration

// MarshalText writes it as 1m30s.
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// Failed reports that a promise was broken.
func (r *Result) Failed() bool { return len(r.Broken) > 0 }

// Names lists the scenarios with a sentence for each.
func Names() [][2]string {
	var out [][2]string
	for _, s := range scenarios() {
		out = append(out, [2]string{s.name, s.what})
	}
	return out
}

// Run stages the scenarios one after another. An error means that something
// could not be staged, not that a promise was broken.
func Run(ctx context.Context, c Config) ([]Result, error) {
	chosen, err := choose(c.Scenarios)
	if err != nil {
		return nil, err
	}
	if !redisproc.Redis.Installed() {
		return nil, &morningai.Error{Code: CodeNoRedis, Op: "drill", Detail: "redis-server is not installed here, and a drill starts servers of its own",
			Hint: "apt-get install redis-server, dnf install redis or brew install redis; the Redis that you use is not touched"}
	}
	return run(ctx, &c, chosen)
}

func run(ctx context.Context, c *Config, chosen []scenario) ([]Result, error) {
	var out []Result
	for i, s := range chosen {
		if c.Began != nil {
			c.Began(s.name, i, len(chosen))
		}
		r, err := stage(ctx, c, s)
		if err != nil {
			// Its text alone: what a server of the drill has answered is no answer to the drill.
			return out, fmt.Errorf("scenario %s cannot be staged: %s", s.name, err.Error())
		}
		out = append(out, r)
		if c.Ended != nil {
			c.Ended(r)
		}
	}
	return out, nil
}

// CodeNoRedis is the code of an error that says that redis-server is missing.
const CodeNoRedis morningai.Code = "no_redis_server"

func choose(names []string) ([]scenario, error) {
	all := scenarios()
	if len(names) == 0 || slices.Contains(names, "all") {
		return all, nil
	}
	var out []scenario
	for _, name := range names {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if i < 0 {
			var known []string
			for _, s := range all {
				known = append(known, s.name)
			}
			return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "drill", Detail: fmt.Sprintf("there is no scenario %q", name),
				Hint: "all, or some of " + strings.Join(known, ", ")}
		}
		out = append(out, all[i])
	}
	return out, nil
}

// Times of a scenario beside the fault.
const (
	warmUp    = 1500 * time.Millisecond
	afterwork = time.Second
	leastRate = 100.0 // operations a second, below which nothing is proved
)

// stage plays one scenario from the first server to the verdict.
func stage(ctx context.Context, c *Config, s scenario) (r Result, err error) {
	if s.cannot != nil {
		if why := s.cannot(); why != "" {
			return Result{Scenario: s.name, What: s.what, Skipped: why}, nil
		}
	}
	f, err := newFleet(c, s)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.step("starts servers")
	if err := f.start(ctx); err != nil {
		return Result{}, f.explained(err)
	}
	r = Result{Scenario: s.name, What: s.what}
	t := startTraffic(f)
	defer t.stop()
	f.step("works")
	if err := wait(ctx, warmUp+time.Duration(f.random.IntN(300))*time.Millisecond); err != nil {
		return Result{}, err
	}
	f.step(s.what)
	f.from = time.Now()
	before := f.now()
	err = s.play(ctx, f)
	if f.to.IsZero() {
		f.to = time.Now()
	}
	if err == nil {
		err = wait(ctx, afterwork)
	}
	t.stop()
	if err != nil {
		return Result{}, f.explained(err)
	}
	f.step("settles")
	if stuck := f.settle(ctx); stuck != "" {
		f.broke("%s", stuck)
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if s.felt != nil {
		if f.felt, err = s.felt(ctx, f); err != nil {
			return Result{}, f.explained(err)
		}
	}
	f.step("checks")
	if s.after != nil {
		if err := s.after(ctx, f); err != nil {
			return Result{}, f.explained(err)
		}
	}
	f.judge(ctx, &r, before)
	if err := ctx.Err(); err != nil { // what is not answered any more is not broken
		return Result{}, err
	}
	if r.Failed() {
		r.History, err = f.keep()
	}
	return r, err
}

// keep saves what a failure has to be looked into with.
func (f *fleet) keep() (string, error) {
	if err := os.MkdirAll(f.config.Keep, 0o700); err != nil {
		return "", err
	}
	base := filepath.Join(f.config.Keep, fmt.Sprintf("%s-seed-%d", f.scenario.name, f.config.Seed))
	for _, n := range append(f.guests, f.nodes...) {
		text, err := os.ReadFile(n.log)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(base+"-"+n.name+".log", text, 0o600); err != nil {
			return "", err
		}
	}
	for i, s := range append(f.more[:len(f.more):len(f.more)], f.redis) {
		if s == nil {
			continue
		}
		text, err := os.ReadFile(s.LogFile())
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(fmt.Sprintf("%s-redis-%d.log", base, i), text, 0o600); err != nil {
			return "", err
		}
	}
	out, err := os.OpenFile(base+".history", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	err = saveHistory(out, f)
	return out.Name(), errors.Join(err, out.Close())
}

func (f *fleet) step(name string) {
	if f.config.Moved != nil {
		f.config.Moved(name)
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
