package sim

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/RC918/morningai"
)

// reach is how a node and the shared engine stand to each other.
type reach uint8

const (
	reachFine   reach = iota
	reachNobody       // connections are refused or broken: every call fails soon
	reachFrozen       // the server stands still, and goes on later with what it was sent
	reachSilent       // nothing gets through in either direction
	reachMute         // requests get through, answers do not
	reachSlow         // everything takes long
	reachFlaky        // some calls are lost, some answers are
	reachFull         // the server takes no writes
)

var reachNames = [...]string{"fine", "refusing", "frozen", "silent", "mute", "slow", "flaky", "taking no writes"}

func (r reach) String() string { return reachNames[r] }

// network carries the calls of all nodes to the shared engine.
type network struct {
	*loop
	random *rand.Rand
	server reach   // for all nodes
	losing float64 // how often a single answer is lost in good times
	frozen []*call // what the server will go on with
	parked []*call // calls that wait by design
	onNode func(node string) reach
}

// call is one effect on its way.
type call struct {
	host    *host
	run     int64 // of the node
	link    *Link
	effect  Effect
	sent    time.Duration
	number  int64 // of a write at the server
	lineage uint64
	over    bool          // answered, or given up
	until   time.Duration // when one that waits by design is answered
	parked  time.Duration // since when it waits for a change
}

// waits reports that a call stands still by design for some more time, if what
// it asks for would wait for that long.
func (c *call) waits(wait, now time.Duration) bool {
	if c.effect.Waits == 0 || wait == 0 {
		return false
	}
	if c.until == 0 {
		c.until = now + wait
	}
	return now < c.until
}

var (
	errLost    error = &morningai.Error{Code: morningai.CodeUnavailable, Op: "call redis", Detail: "the connection to Redis was lost", Hint: "check the server and the network"}
	errRefused error = &morningai.Error{Code: morningai.CodeUnavailable, Op: "call redis", Detail: "nothing accepts connections at the address of Redis", Hint: "start the server or correct the address"}
	errSilent  error = &morningai.Error{Code: morningai.CodeUnavailable, Op: "call redis", Detail: "Redis does not answer in time", Hint: "check the server and the network"}
	errNoWrite error = &morningai.Error{Code: morningai.CodeUnavailable, Op: "call redis", Detail: "the memory of Redis is full", Hint: "raise maxmemory or remove data"}
)

// longestWait is when a client gives up a call that waits by design.
const longestWait = 7 * time.Second

// state is the worse of what ails the server and the way to it.
func (n *network) state(node string) reach {
	if n.server != reachFine {
		return n.server
	}
	return n.onNode(node)
}

func (n *network) latency(s reach) time.Duration {
	if s == reachSlow {
		return between(n.random, 20*time.Millisecond, 700*time.Millisecond)
	}
	return between(n.random, 50*time.Microsecond, 3*time.Millisecond)
}

// send sets a call on its way.
func (n *network) send(c *call) {
	if c.effect.Limit > 0 {
		n.after(c.effect.Limit, func() { n.giveUp(c, context.DeadlineExceeded) })
	}
	if c.effect.Waits != 0 {
		n.after(longestWait, func() { n.giveUp(c, errSilent) })
	}
	state := n.state(c.link.node)
	switch {
	case state == reachNobody:
		n.after(n.latency(state), func() { n.giveUp(c, errRefused) })
	case state == reachSilent, state == reachFlaky && chance(n.random, 0.15):
		n.trace(c.link.node, "%s is lost on its way", c.effect.Name)
	default:
		n.after(n.latency(state), func() { n.arrive(c) })
	}
}

// arrive is a call's arrival at the server, or its turn there.
func (n *network) arrive(c *call) {
	state := n.state(c.link.node)
	if c.effect.Waits != 0 && c.over {
		return
	}
	switch state {
	case reachNobody:
		n.giveUp(c, errLost)
		return
	case reachSilent:
		return
	case reachFrozen:
		n.frozen = append(n.frozen, c)
		return
	case reachFull:
		c.link.Refuse(errNoWrite)
		defer c.link.Refuse(nil)
	}
	l := c.link
	l.waiting, l.changed, l.last, l.taken = 0, false, 0, nil
	result, err := c.effect.Run(context.Background())
	c.number, c.lineage = l.last, l.lineage
	n.note(c.effect.Name, int64(len(l.node)))
	if c.waits(l.waiting, n.now) {
		n.park(c)
		return
	}
	n.trace(l.node, "  %s takes effect%s", c.effect.Name, failure(err))
	if l.changed {
		n.unpark()
	}
	if err == nil && len(l.taken) > 0 {
		c.host.w.strike(c.host, l.taken)
	}
	lost := n.losing
	if state == reachFlaky {
		lost = 0.2
	}
	if state == reachMute {
		return
	}
	if chance(n.random, lost) {
		n.trace(l.node, "  the answer of %s is lost", c.effect.Name)
		if chance(n.random, 0.5) {
			n.after(n.latency(state), func() { n.giveUp(c, errLost) })
		}
		return
	}
	n.after(n.latency(state), func() { n.answer(c, result, err) })
}

// answer is the arrival of an answer at the node.
func (n *network) answer(c *call, result any, err error) {
	switch n.state(c.link.node) {
	case reachNobody:
		n.giveUp(c, errLost)
		return
	case reachSilent, reachMute:
		n.trace(c.link.node, "  the answer of %s is lost", c.effect.Name)
		return
	}
	c.link.acknowledge(c.number, c.lineage)
	c.finish(result, err)
}

// giveUp answers a call with an error that says nothing of whether it took, or
// will take, effect.
func (n *network) giveUp(c *call, err error) {
	if !c.over {
		n.trace(c.link.node, "  %s is given up: %v", c.effect.Name, err)
		c.finish(nil, err)
	}
}

func (c *call) finish(result any, err error) {
	if c.over || c.run != c.host.runs || !c.host.up {
		return
	}
	c.over = true
	c.host.event(func() { c.effect.Then(result, err) })
}

// park lets a call wait at the server: until something changes, and at most
// for a moment, because due times change nothing.
func (n *network) park(c *call) {
	n.parked = append(n.parked, c)
	at := n.now
	c.parked = at
	n.after(200*time.Millisecond, func() { n.resume(c, at) })
}

func (n *network) unpark() {
	parked := n.parked
	n.parked = nil
	for _, c := range parked {
		n.after(50*time.Microsecond, func() { n.arrive(c) })
	}
}

func (n *network) resume(c *call, parked time.Duration) {
	for i, p := range n.parked {
		if p == c && c.parked == parked {
			n.parked = append(n.parked[:i:i], n.parked[i+1:]...)
			n.arrive(c)
			return
		}
	}
}

// become changes how the server stands. Calls that a frozen one was sent take
// effect when it goes on, those that were given up too, unless it was killed.
func (n *network) become(s reach) {
	was := n.server
	n.server = s
	n.trace("redis", "is now %s", s)
	frozen := n.frozen
	n.frozen = nil
	n.random.Shuffle(len(frozen), func(i, j int) { frozen[i], frozen[j] = frozen[j], frozen[i] })
	for _, c := range frozen {
		switch {
		case s == reachFrozen:
			n.frozen = append(n.frozen, c)
		case was == reachFrozen && s != reachNobody && (!c.over || chance(n.random, 0.7)):
			n.after(n.latency(reachFine), func() { n.arrive(c) })
		}
	}
	if s == reachNobody { // whatever waits there sees its connection break
		parked := n.parked
		n.parked = nil
		for _, c := range parked {
			n.after(n.latency(reachFine), func() { n.giveUp(c, errLost) })
		}
	}
}

func failure(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}
