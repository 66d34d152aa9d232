// Package doctor looks for what is wrong with an installation: its Redis step by
// step, its server, its disk, its work and its LLM endpoint. It changes nothing that
// anybody relies on: what it writes are scratch keys and a scratch file, which it
// takes away, and the mark of a probe. It needs neither a server nor a Redis; what cannot be looked
// at is said to be skipped or unknown, with the reason.
package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/RC918/morningai"
)

// Status is what a check has come to.
type Status string

// The statuses. Only StatusWrong makes a report wrong.
const (
	StatusOK      Status = "ok"
	StatusWrong   Status = "wrong"
	StatusUnknown Status = "unknown" // it could not be found out
	StatusSkipped Status = "skipped" // there is nothing to look at
)

// Finding is what one check has seen, what it means, and the command that puts it
// right, or shows more.
type Finding struct {
	Name    string `json:"name"`
	Status  Status `json:"status"`
	Seen    string `json:"seen"`
	Meaning string `json:"meaning"`
	Fix     string `json:"fix"`
}

// Report is everything that was looked at.
type Report struct {
	Status   Status    `json:"status"` // ok or wrong
	At       time.Time `json:"at"`
	Version  string    `json:"version"`
	Findings []Finding `json:"checks"`
}

// Options say what to look at.
type Options struct {
	Redis         string // the address; "": no Redis is looked at
	AllowEviction bool   // the servers start although Redis evicts
	Data          string // the data folder
	Server        string // address of a server; "": the one that runs on the data folder
	Guess         string // where a server is looked for last; "": nowhere
	Token         string // never sent to the guessed address
	Listen        string // what a server is, or would be, started with
	TokenFile     string
	Insecure      bool
	LLM           string // base address of an LLM endpoint; "": none is looked at
	LLMKey        string // sent there, shown nowhere
	Version       string // of this program
}

// secondLook is the time between two looks at what moves: sessions beat several
// times meanwhile.
const secondLook = 2500 * time.Millisecond

// doctor collects findings.
type doctor struct {
	Options
	findings []Finding
	overdue  time.Duration // beyond its timeout after which a task is stuck
	again    time.Duration // until the second look
	redis    string        // the engine of the server that was found; "" if none was
}

// overdueTime is what a running task may be over its timeout: a handler that
// ignores it is given the grace time of its server.
const overdueTime = 2 * time.Minute

// Run looks at everything. An error means that the options cannot be used, or that
// the context has ended.
func Run(ctx context.Context, o Options) (Report, error) {
	return newDoctor(o).run(ctx)
}

func newDoctor(o Options) *doctor {
	return &doctor{Options: o, overdue: overdueTime, again: secondLook}
}

func (d *doctor) run(ctx context.Context) (Report, error) {
	began := time.Now()
	srv := d.lookAtServer(ctx)
	defer srv.close()
	r, err := d.approachRedis(ctx)
	if err != nil {
		return Report{}, err
	}
	defer r.close()
	r.firstLook(ctx)
	work := workOf(srv, r)
	before := work.look(ctx)
	d.lookAtAccess(srv)
	d.lookAtData(ctx, srv)
	d.lookAtLLM(ctx)
	if r.reached() || before.sessions != nil {
		if err := wait(ctx, d.again-time.Since(began)); err != nil {
			return Report{}, err
		}
	}
	r.judge(ctx)
	d.lookAtJournal(ctx, srv)
	d.lookAtWork(before, work.look(ctx))
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	report := Report{Status: StatusOK, At: time.Now().UTC(), Version: d.Version, Findings: d.inOrder()}
	for _, f := range report.Findings {
		if f.Status == StatusWrong {
			report.Status = StatusWrong
		}
	}
	return report, nil
}

func wait(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *doctor) add(name string, s Status, seen, meaning, fix string) {
	if meaning == "" {
		meaning = meanings[name]
	}
	d.findings = append(d.findings, Finding{Name: name, Status: s, Seen: seen, Meaning: meaning, Fix: fix})
}

func (d *doctor) ok(name, seen string) { d.add(name, StatusOK, seen, "", "") }

func (d *doctor) wrong(name, seen, meaning, fix string) {
	d.add(name, StatusWrong, seen, meaning, fix)
}

func (d *doctor) unknown(name, seen, fix string) { d.add(name, StatusUnknown, seen, "", fix) }

func (d *doctor) skip(why string, names ...string) {
	for _, name := range names {
		d.add(name, StatusSkipped, why, "", "")
	}
}

// inOrder returns the findings in the order of the checks.
func (d *doctor) inOrder() []Finding {
	out := make([]Finding, 0, len(d.findings))
	for _, name := range Names() {
		for _, f := range d.findings {
			if f.Name == name {
				out = append(out, f)
			}
		}
	}
	return out
}

// worded is an error as a finding says it: what is wrong, and what to do.
func worded(err error) (detail, hint string) {
	e, ok := errors.AsType[*morningai.Error](err)
	if !ok {
		return err.Error(), ""
	}
	detail = e.Detail
	if detail == "" {
		detail = string(e.Code)
	}
	return detail, e.Hint
}
