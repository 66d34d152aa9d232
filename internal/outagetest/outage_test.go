package outagetest

import (
	"time"

	"github.com/RC918/morningai/internal/drill"
)

// outage is a way in which Redis goes away and comes back.
type outage struct {
	name        string
	begin, over func(f *fleet)
}

var (
	killed = outage{"killed", func(f *fleet) { f.redis.Kill() }, func(f *fleet) { f.redis.Restart() }}
	// A Redis that is told to shut down says goodbye to its clients.
	stopped = outage{"stopped", func(f *fleet) {
		_, _ = f.redis.Try("SHUTDOWN") // the connection ends without a reply
		f.redis.Kill()
	}, func(f *fleet) { f.redis.Restart() }}
	frozen = outage{"frozen", func(f *fleet) { f.redis.Freeze() }, func(f *fleet) { f.redis.Thaw() }}
	// These need a proxy.
	swallowed = outage{"swallowed", func(f *fleet) { f.proxy.BlackHoleAll() }, (*fleet).heal}
	refused   = outage{"refused", func(f *fleet) { f.proxy.Refuse() }, (*fleet).heal}
)

func (f *fleet) heal() {
	f.t.Helper()
	if err := f.proxy.Heal(); err != nil {
		f.t.Fatal(err)
	}
}

// away takes Redis away and returns the moment before.
func (f *fleet) away(o outage) time.Time {
	f.t.Helper()
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	at := time.Now()
	o.begin(f)
	return at
}

// back brings Redis back and returns the moment after.
func (f *fleet) back(o outage) time.Time {
	f.t.Helper()
	o.over(f)
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	return time.Now()
}

// during is a whole outage, in which something is done that takes at most as
// long.
func (f *fleet) during(o outage, d time.Duration, do func()) (from, to time.Time) {
	f.t.Helper()
	from = f.away(o)
	end := time.NewTimer(d)
	defer end.Stop()
	if do != nil {
		do()
	}
	<-end.C
	return from, f.back(o)
}

// rest lets the traffic run for some time.
func rest(d time.Duration) { <-time.After(d) }

// health is the body of GET /health.
type health struct {
	Status string `json:"status"`
	Engine string `json:"engine"`
	Redis  struct {
		Status     string    `json:"status"`
		Cause      string    `json:"cause"`
		Hint       string    `json:"hint"`
		Partitions []int     `json:"partitions"`
		Since      time.Time `json:"since"`
	} `json:"redis"`
	Journal *struct {
		Status  string `json:"status"`
		Cause   string `json:"cause"`
		Entries int64  `json:"entries"`
		Bytes   int64  `json:"bytes"`
		Limit   int64  `json:"limit"`

		Unprotected []string `json:"unprotected"`
	} `json:"journal"`
	Workers int `json:"workers"`
}

func (f *fleet) health(n *node) health {
	f.t.Helper()
	var h health
	n.call("GET", "/health", nil).into(f.t, &h)
	return h
}

// degraded waits until a server knows that Redis is away.
func (f *fleet) degraded(nodes ...*node) {
	f.t.Helper()
	for _, n := range nodes {
		until(f.t, 15*time.Second, n.name+" to be degraded", func() bool { return f.health(n).Status == "degraded" })
	}
}

// incident is a report as the API shows it.
type incident struct {
	ID           string  `json:"id"`
	Node         string  `json:"node"`
	Cause        string  `json:"cause"`
	Hint         string  `json:"hint"`
	EndedAt      *string `json:"ended_at"`
	NoticedAfter string  `json:"noticed_after"`

	Accepted, Delivered, Forwarded, Replayed, Repeated, Superseded, Refused, Lost, Backlog int64

	RanLocally    int64 `json:"ran_locally"`
	SetAside      int64 `json:"set_aside"`
	MaybeRepeated int64 `json:"maybe_repeated"`

	LostIDs          []string `json:"lost_ids"`
	Unprotected      []string `json:"unprotected"`
	RepeatedIDs      []string `json:"repeated_ids"`
	MaybeRepeatedIDs []string `json:"maybe_repeated_ids"`
	SetAsideIDs      []string `json:"set_aside_ids"`
}

// incidents returns those of a server, newest first, with their ids.
func (f *fleet) incidents(n *node) []incident {
	f.t.Helper()
	var all struct {
		Incidents []incident `json:"incidents"`
	}
	n.call("GET", "/v1/incidents", nil).into(f.t, &all)
	for i := range all.Incidents {
		n.call("GET", "/v1/incidents/"+all.Incidents[i].ID, nil).into(f.t, &all.Incidents[i])
	}
	return all.Incidents
}
