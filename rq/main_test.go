package rq_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
	"github.com/RC918/morningai/rq"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// each runs a test with every version of RQ on this machine, each on a Redis of
// its own.
func each(t *testing.T, f func(t *testing.T, v rqtest.RQ, s *redistest.Server)) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			f(t, v, redistest.Start(t))
		})
	}
}

func open(t *testing.T, s *redistest.Server, opts ...rq.Option) *rq.Client {
	t.Helper()
	c, err := rq.Open(s.URL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func enqueue(t *testing.T, c *rq.Client, spec rq.Spec) *rq.Job {
	t.Helper()
	j, err := c.Enqueue(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func get(t *testing.T, c *rq.Client, id string) *rq.Job {
	t.Helper()
	j, err := c.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// reaches waits until a job has a status.
func reaches(t *testing.T, c *rq.Client, id string, want rq.Status) *rq.Job {
	t.Helper()
	var j *rq.Job
	redistest.Until(t, id+" to be "+string(want), func() bool {
		j = get(t, c, id)
		return j.Status == want
	})
	return j
}
