package sim

import (
	"math/rand/v2"
	"time"

	"github.com/RC918/morningai/internal/drill"
)

// Faults says what may go wrong in a run. What does, the seed decides.
type Faults struct {
	Outages bool // the shared engine, or one node's way to it
	Drops   bool // single answers are lost now and then
	Crashes bool // of nodes
	Disks   bool // full, slow, or not confirming writes
	Losses  bool // the shared engine comes back with older data, or with none
}

// plan is what a seed has decided before anything happens.
type plan struct {
	nodes  int
	slots  int
	lease  time.Duration
	calls  int           // of clients
	active time.Duration // for how long they call
	calm   time.Duration // when the last fault is over
}

// allJoined is when every node has been seen by the others: of one that has never
// reached the shared engine nobody can know what it has accepted.
const allJoined = time.Second

func (w *world) makePlan() {
	r := w.stream("plan")
	p := &w.plan
	p.nodes = w.cfg.Nodes
	if p.nodes == 0 {
		p.nodes = 1 + r.IntN(3)
	}
	p.slots = 1 + r.IntN(6)
	p.lease = []time.Duration{2 * time.Second, 4 * time.Second, 15 * time.Second}[r.IntN(3)]
	p.calls = 10 + r.IntN(120)
	p.active = between(r, 2*time.Second, 30*time.Second)
	p.calm = p.active
}

// planFaults schedules everything that will go wrong.
func (w *world) planFaults() {
	r := w.stream("faults")
	f := w.cfg.Faults
	if f.Drops && chance(r, 0.3) {
		w.net.losing = 0.03 * r.Float64()
	}
	if f.Outages && chance(r, 0.9) {
		w.planOutages(r)
	}
	for _, h := range w.hosts {
		if f.Outages && chance(r, 0.3) {
			w.planCuts(r, h)
		}
		if f.Crashes && chance(r, 0.5) {
			w.planCrashes(r, h)
		}
		if f.Disks && chance(r, 0.4) {
			w.planDisk(r, h)
		}
	}
}

// spell schedules a fault with a beginning and an end.
func (w *world) spell(at, length time.Duration, begin, end func()) time.Duration {
	w.at(at, begin)
	w.at(at+length, end)
	w.plan.calm = max(w.plan.calm, at+length)
	return at + length
}

func length(r *rand.Rand) time.Duration {
	if chance(r, 0.05) {
		return between(r, 10*time.Second, 60*time.Second)
	}
	return between(r, 20*time.Millisecond, 12*time.Second)
}

func (w *world) planOutages(r *rand.Rand) {
	at := allJoined
	for range 1 + r.IntN(3) {
		at += time.Duration(r.Float64() * float64(w.plan.active) * 0.6)
		mode := []reach{reachNobody, reachNobody, reachFrozen, reachFrozen, reachSilent, reachMute, reachSlow, reachFlaky, reachFull}[r.IntN(9)]
		loss := w.cfg.Faults.Losses && chance(r, 0.6)
		if loss {
			mode = reachNobody
		}
		var was *Snapshot // nil: it comes back empty
		if loss && chance(r, 0.6) {
			w.at(max(0, at-between(r, 0, 2*time.Second)), func() { was = w.shared.Snapshot() })
		}
		at = w.spell(at, length(r), func() {
			w.hist.Add(drill.Op{Kind: drill.RedisDown})
			w.net.become(mode)
		}, func() {
			if loss {
				w.hist.Add(drill.Op{Kind: drill.RedisLost})
				if was != nil {
					w.trace("redis", "comes back with older data")
					w.shared.RollBack(was)
				} else {
					w.trace("redis", "comes back empty")
					w.shared.Empty()
				}
			}
			w.net.become(reachFine)
			w.hist.Add(drill.Op{Kind: drill.RedisUp})
		}) + 10*time.Millisecond
	}
}

// planCuts lets one node's way to the shared engine fail.
func (w *world) planCuts(r *rand.Rand, h *host) {
	at := allJoined
	for range 1 + r.IntN(2) {
		at += time.Duration(r.Float64() * float64(w.plan.active) * 0.6)
		mode := []reach{reachNobody, reachSilent, reachMute, reachSlow, reachFlaky}[r.IntN(5)]
		at = w.spell(at, length(r), func() {
			w.hist.Add(drill.Op{Node: h.name, Kind: drill.Cut})
			w.trace(h.name, "its way to redis is %s", mode)
			h.reach = mode
		}, func() {
			h.reach = reachFine
			w.trace(h.name, "its way to redis is fine")
			w.hist.Add(drill.Op{Node: h.name, Kind: drill.Mended})
		}) + 10*time.Millisecond
	}
}

func (w *world) planCrashes(r *rand.Rand, h *host) {
	at := allJoined
	for range 1 + r.IntN(3) {
		at += 10*time.Millisecond + time.Duration(r.Float64()*float64(w.plan.active)*0.7)
		at = w.spell(at, between(r, 30*time.Millisecond, 10*time.Second), h.crash, h.restart)
	}
}

// planDisk lets a node's disk be full, slow, or fail. One that has failed is
// well again when the node is started again.
func (w *world) planDisk(r *rand.Rand, h *host) {
	at := allJoined + time.Duration(r.Float64()*float64(w.plan.active))
	long := length(r)
	full := func(change func(on bool)) (func(), func()) {
		return func() {
				w.hist.Add(drill.Op{Node: h.name, Kind: drill.DiskFull})
				w.trace(h.name, "its disk is full")
				change(true)
			}, func() {
				change(false)
				w.trace(h.name, "its disk has room")
				w.hist.Add(drill.Op{Node: h.name, Kind: drill.DiskSpace})
			}
	}
	switch r.IntN(5) {
	case 0:
		begin, end := full(func(on bool) { h.disk.full = on })
		w.spell(at, long, begin, end)
	case 1:
		begin, end := full(func(on bool) {
			h.disk.free = roomy
			if on {
				h.disk.free = 0
			}
		})
		w.spell(at, long, begin, end)
	case 2:
		begin, end := full(func(on bool) {
			h.disk.extra = 0
			if on {
				h.disk.extra = roomy
			}
		})
		w.spell(at, long, begin, end)
	case 3:
		w.spell(at, long, func() { h.slow = true }, func() { h.slow = false })
	default:
		w.spell(at, long, func() {
			w.hist.Add(drill.Op{Node: h.name, Kind: drill.DiskFailed})
			w.trace(h.name, "its disk confirms nothing more")
			h.disk.failing = true
		}, func() {
			if h.up {
				h.crash()
				w.at(w.now+time.Second, h.restart)
			}
		})
		w.plan.calm = max(w.plan.calm, at+long+2*time.Second)
	}
}
