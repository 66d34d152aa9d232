package outagetest

import (
	"fmt"
	"testing"
	"time"
)

// Redis is away while 200 tasks a second come in and 50 run. Every enqueue is
// accepted, new tasks run meanwhile, what runs goes on and is not run again, and
// afterwards nothing is lost and all servers say the same.
func TestOutageUnderLoad(t *testing.T) {
	t.Parallel()
	lengths := []time.Duration{45 * time.Second, 10 * time.Second, time.Second}
	if *soak {
		lengths = append(lengths, time.Minute)
	}
	for _, d := range lengths {
		for _, o := range []outage{killed, stopped, frozen} {
			t.Run(fmt.Sprintf("%s for %v", o.name, d), func(t *testing.T) {
				t.Parallel()
				underLoad(t, o, d)
			})
		}
	}
}

func underLoad(t *testing.T, o outage, d time.Duration) {
	f := startFleet(t)
	f.flags = []string{"--lease", "15s"} // the default: shorter than the longest outage
	f.history.Setup.LeaseTime = 15 * time.Second
	a, b := f.startNode("a"), f.startNode("b")
	long := append(f.running(a, 13, "after"), f.running(b, 12, "after")...)
	inside := append(f.running(a, 13, "inside"), f.running(b, 12, "inside")...)
	tr := f.traffic(200, f.mixed, a, b)
	rest(time.Second)

	from, to := f.during(o, d, func() {
		rest(d / 2)
		f.callee.open("inside") // half of those that run end during the outage
	})
	rest(2 * time.Second)
	f.callee.open("after")
	made := tr.stop()
	e := yard.since(t, from)
	f.settle()

	f.allAccepted(made)
	f.timely("with the outage in it", e, during(made, from, to), 0, time.Second)
	const opens = time.Second // a circuit is open by then
	if open := during(made, from.Add(opens), to); d > 2*opens {
		f.timely("with the circuit open", e, open, 100*time.Millisecond, 0)
		f.ranMeanwhile(open, to)
	}
	ends := f.everyStatusAgrees()
	f.succeededOnce(ends, append(append(made, long...), inside...))
	for n, tasks := range ends {
		if len(tasks) != len(idsOf(f.all())) {
			t.Errorf("%s has %d tasks, %d were accepted", n.name, len(tasks), len(idsOf(f.all())))
		}
		f.reported(n, d > 2*opens)
	}
}

// ranMeanwhile checks that tasks that were accepted while the circuit was open
// ran before Redis came back: all but the youngest.
func (f *fleet) ranMeanwhile(open []receipt, to time.Time) {
	f.t.Helper()
	counted, ran := 0, 0
	for _, r := range open {
		if r.spec["type"] != "http" || r.at.After(to.Add(-5*time.Second)) {
			continue
		}
		counted++
		if runs := f.callee.of(r.task.ID); len(runs) > 0 && runs[0].began.Before(to) {
			ran++
		}
	}
	f.t.Logf("%d of %d tasks accepted during the outage ran during it", ran, counted)
	if counted == 0 || ran < counted {
		f.t.Errorf("of %d tasks that were accepted well before the end of the outage only %d ran during it", counted, ran)
	}
}

// reported checks what a server says of the outage afterwards.
func (f *fleet) reported(n *node, certain bool) {
	f.t.Helper()
	all := f.incidents(n)
	if !certain && len(all) == 0 {
		return // too short to be noticed by everyone
	}
	if len(all) == 0 {
		f.t.Errorf("%s has no incident", n.name)
		return
	}
	var sum incident // a busy machine may make several outages of one
	for i, one := range all {
		sum.Lost, sum.Refused, sum.Repeated, sum.SetAside = sum.Lost+one.Lost, sum.Refused+one.Refused, sum.Repeated+one.Repeated, sum.SetAside+one.SetAside
		sum.Accepted, sum.RanLocally = sum.Accepted+one.Accepted, sum.RanLocally+one.RanLocally
		if one.Cause == "" || i == 0 && one.Backlog != 0 {
			f.t.Errorf("an incident of %s: %+v", n.name, one)
		}
	}
	if sum.Lost != 0 || sum.Refused != 0 || sum.Repeated != 0 || sum.SetAside != 0 {
		f.t.Errorf("the incidents of %s say in all: lost %d, refused %d, repeated %d, set aside %d", n.name, sum.Lost, sum.Refused, sum.Repeated, sum.SetAside)
	}
	if certain && (sum.Accepted == 0 || sum.RanLocally == 0) {
		f.t.Errorf("the incidents of %s say that nothing was accepted, or ran, meanwhile: %+v", n.name, all)
	}
	for _, one := range all {
		if took, err := time.ParseDuration(one.NoticedAfter); err != nil || took < 0 {
			f.t.Errorf("noticed after %q", one.NoticedAfter)
		}
	}
}

// Without a fault the same story holds, so that what the others find is the
// outage's doing.
func TestNoOutage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a, b := f.startNode("a"), f.startNode("b")
	long := f.running(a, 5, "gate")
	tr := f.traffic(50, f.mixed, a, b)
	rest(2 * time.Second)
	f.callee.open("gate")
	made := tr.stop()
	f.settle()
	ends := f.everyStatusAgrees()
	f.succeededOnce(ends, append(made, long...))
	f.allAccepted(made)
	if len(made) < 50 {
		t.Errorf("%d enqueues in two seconds: the traffic does not flow", len(made))
	}
}
