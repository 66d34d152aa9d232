package resilient

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/RC918/morningai"
)

// detector judges whether the shared engine can be relied on, by errors as well
// as by silence, and demands a healthy interval before it trusts it again.
//
//	up → suspect → down → recovering → up
//
// An error, or a call without a reply for limits.suspect, makes it suspect, and a
// probe is sent at once. The circuit opens if the probe fails, or if no reply
// of any kind has come for limits.open. Exceeding the budget of one call is an
// answer to that call, not a sign of an outage.
type detector struct {
	state    morningai.Contact
	since    time.Time // of up or suspect, or of down or recovering
	cause    error
	heard    time.Time   // when the last reply came, success or not
	healthy  time.Time   // when the last success was sent
	waiting  []time.Time // when the calls from number oldest on were sent; zero: it has ended
	oldest   int64       // of the calls that wait, if any
	probing  bool
	next     time.Time // of the next probe; zero: none is planned
	tries    int
	passed   int       // probes in a row
	passedAt time.Time // when the first of them was sent
	opened   time.Time // of the last outage
	closed   time.Time // its end
	apart    time.Time // when it began, or the first of some that followed each other closely
}

const (
	// An idle node probes when it has heard nothing for idleProbe, so that an
	// outage is noticed within idleProbe and limits.open.
	idleProbe      = time.Second
	firstRetry     = 50 * time.Millisecond
	slowestRetry   = 400 * time.Millisecond
	healthyFor     = 250 * time.Millisecond
	healthyProbes  = 3
	recoverySpread = 0.2 // of the pause between probes
)

// began notes that a call was sent.
func (d *detector) began(now time.Time) int64 {
	d.waiting = append(d.waiting, now)
	return d.oldest + int64(len(d.waiting)) - 1
}

// hear notes that a reply has come within a call, which may make several trips: the
// shared engine is slow then, and not silent.
func (d *detector) hear(at time.Time) {
	if at.After(d.heard) {
		d.heard = at
	}
}

// open reports whether new calls go to the journal.
func (d *detector) open() bool {
	return d.state == morningai.ContactDown || d.state == morningai.ContactRecovering
}

// sentAt is when the oldest call without a reply was sent.
func (d *detector) sentAt() (time.Time, bool) {
	if len(d.waiting) == 0 {
		return time.Time{}, false
	}
	return d.waiting[0], true
}

// silence is for how long there has been no reply although one was due.
func (d *detector) silence(now time.Time) time.Duration {
	at, ok := d.sentAt()
	if !ok {
		return 0
	}
	if d.heard.After(at) {
		at = d.heard
	}
	return now.Sub(at)
}

func (d *detector) wake(l *limits) time.Time {
	at := d.next
	if d.open() {
		return at
	}
	if sent, ok := d.sentAt(); ok {
		if d.heard.After(sent) {
			sent = d.heard
		}
		after := l.suspect
		if d.state == morningai.ContactSuspect {
			after = l.open
		}
		return earlier(at, sent.Add(after))
	}
	if d.probing { // its answer is an event
		return at
	}
	return earlier(at, d.healthy.Add(idleProbe))
}

// ended notes that a call waits no longer, and returns when it was sent.
func (d *detector) ended(call int64) time.Time {
	at := call - d.oldest
	sent := d.waiting[at]
	d.waiting[at] = time.Time{}
	n := 0
	for n < len(d.waiting) && d.waiting[n].IsZero() {
		n++
	}
	d.waiting, d.oldest = d.waiting[n:], d.oldest+int64(n)
	return sent
}

// noteContact takes what a finished call says of the shared engine. A call
// without a number has waited by design: that it succeeds shows only that there
// is a reply now.
func (c *core) noteContact(call int64, sent time.Time, err error) {
	d := &c.contact
	if errors.Is(err, context.Canceled) || errors.Is(err, morningai.ErrClosed) {
		return
	}
	if !outage(err) {
		d.heard = c.now
		c.firstContact()
		if call == 0 {
			return
		}
		if sent.After(d.healthy) {
			d.healthy = sent
		}
		if c.incidents.lasting && !d.open() && !c.partly() {
			c.endIncident() // it began before this process
		}
		if d.state == morningai.ContactSuspect && sent.After(d.since) {
			c.toState(morningai.ContactUp, nil)
		}
		return
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		d.heard = c.now // a refusal is a reply
	}
	if d.state == morningai.ContactUp {
		c.suspect(err)
	}
}

func (c *core) suspect(cause error) {
	c.toState(morningai.ContactSuspect, cause)
	c.probe()
}

// probe sends one real write, unless one is under way.
func (c *core) probe() {
	d := &c.contact
	if d.probing || c.closing {
		return
	}
	d.probing, d.next = true, time.Time{}
	sent := c.now
	onShared(c, "probe", c.cfg.limits.open, func(ctx context.Context) (struct{}, error) { return struct{}{}, c.remote.Probe(ctx) },
		func(_ struct{}, err error) { c.probed(sent, err) })
}

func (c *core) probed(sent time.Time, err error) {
	d := &c.contact
	d.probing = false
	if err != nil {
		d.passed = 0
		switch d.state {
		case morningai.ContactUp, morningai.ContactSuspect:
			c.openCircuit(err)
		case morningai.ContactRecovering:
			c.toState(morningai.ContactDown, err)
		default:
			d.cause = err
		}
		c.explainIncident(err)
		d.tries++
		pause := min(firstRetry<<min(d.tries, 8), slowestRetry)
		d.next = c.now.Add(time.Duration(float64(pause) * (1 + recoverySpread*(2*c.random()-1))))
		return
	}
	d.tries = 0
	if d.state != morningai.ContactDown && d.state != morningai.ContactRecovering {
		if d.state == morningai.ContactSuspect {
			c.toState(morningai.ContactUp, nil)
		}
		return
	}
	if d.passed == 0 {
		d.passedAt = sent
		c.toState(morningai.ContactRecovering, d.cause)
	}
	d.passed++
	if d.passed >= healthyProbes && c.now.Sub(d.passedAt) >= healthyFor && c.rebuilt() {
		c.closeCircuit()
		return
	}
	d.next = c.now.Add(healthyFor / healthyProbes)
}

// watchContact acts on silence.
func (c *core) watchContact() {
	d := &c.contact
	if !d.next.IsZero() && !d.next.After(c.now) {
		d.next = time.Time{}
		c.probe()
	}
	if d.open() {
		return
	}
	silent := d.silence(c.now)
	switch {
	case silent >= c.cfg.limits.open:
		c.openCircuit(errSilent)
		d.next = c.now.Add(firstRetry)
	case silent >= c.cfg.limits.suspect && d.state == morningai.ContactUp:
		c.suspect(errSilent)
	case silent == 0 && c.now.Sub(d.healthy) >= idleProbe:
		c.probe()
	}
}

func (c *core) toState(state morningai.Contact, cause error) {
	d := &c.contact
	was := d.open()
	d.state, d.cause = state, cause
	if state == morningai.ContactSuspect || was != d.open() {
		d.since = c.now
	}
	if was != d.open() {
		c.reroute()
	}
}

func (c *core) openCircuit(cause error) {
	d := &c.contact
	noticed := time.Duration(0)
	if !d.heard.IsZero() {
		noticed = c.now.Sub(d.heard)
	}
	if at, ok := d.sentAt(); ok && c.now.Sub(at) > noticed {
		noticed = c.now.Sub(at)
	}
	d.passed = 0
	d.opened = c.now
	if d.closed.IsZero() || c.now.Sub(d.closed) > strangers {
		d.apart = c.now
	}
	c.toState(morningai.ContactDown, cause)
	c.beginIncident(cause, noticed)
	if c.met {
		c.markSoon() // beats too have been acknowledged until now
	}
}

func (c *core) closeCircuit() {
	d := &c.contact
	d.passed, d.healthy, d.closed = 0, c.now, c.now
	c.endRebuild()
	c.toState(morningai.ContactUp, nil)
	c.mirror.next = c.now // what others have changed meanwhile
	if c.partly() {
		c.beginIncident(c.apart.cause(), 0) // goes on
	} else {
		c.endIncident()
	}
	c.recover()
}

// errSilent is the cause when nothing answers.
var errSilent error = &morningai.Error{Code: morningai.CodeUnavailable, Op: "reach the shared engine",
	Detail: "Redis does not answer in time", Hint: "check the server and the network"}

// reason is an error's sentence and hint for people, without values.
func reason(err error) (cause, hint string) {
	if e, ok := errors.AsType[*morningai.Error](err); ok && e.Detail != "" {
		return e.Detail, e.Hint
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return reason(errSilent)
	}
	if err == nil {
		return "", ""
	}
	return err.Error(), ""
}

func (c *core) warn(text string, err error, attrs ...any) {
	cause, hint := reason(err)
	attrs = append(attrs, "cause", cause)
	if hint != "" {
		attrs = append(attrs, "hint", hint)
	}
	c.log(slog.LevelWarn, text, attrs...)
}
