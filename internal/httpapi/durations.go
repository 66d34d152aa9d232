package httpapi

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/RC918/morningai"
)

const (
	// Values of a label that are told apart. Names of types and queues come with
	// requests, and whoever asks must not be able to make series without end.
	mostTypes  = 64
	mostQueues = 100
	// otherValues stands for the rest. No name has parentheses.
	otherValues = "(other)"
)

// bounded keeps a label from having too many values: the first ones stay.
type bounded struct {
	most int

	mu    sync.Mutex
	known map[string]bool
}

func newBounded(most int) *bounded { return &bounded{most: most, known: map[string]bool{}} }

func (b *bounded) value(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.known[name]:
	case len(b.known) < b.most:
		b.known[name] = true
	default:
		return otherValues
	}
	return name
}

// histograms makes those of attempts.
func (m *metrics) histograms() {
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600}
	m.waited = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "morningai_task_start_latency_seconds",
		Help:    "Time from the acceptance of a task that was due at once to the start of its first attempt, by the clocks of the two servers.",
		Buckets: buckets,
	}, []string{"type", "ran"})
	m.took = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "morningai_task_run_seconds",
		Help:    "Time from the start of an attempt to its end.",
		Buckets: buckets,
	}, []string{"type", "outcome", "ran"})
}

// attempted returns what observes the attempts that were run here, or over HTTP.
func (m *metrics) attempted(ran string) func(morningai.Attempted) {
	return func(a morningai.Attempted) {
		taskType := m.types.value(a.Task.Type)
		if waited, known := a.Waited(); known {
			m.waited.WithLabelValues(taskType, ran).Observe(waited.Seconds())
		}
		if !a.Report.StartedAt.IsZero() {
			m.took.WithLabelValues(taskType, string(a.Report.Outcome), ran).Observe(max(0, a.Report.FinishedAt.Sub(a.Report.StartedAt).Seconds()))
		}
	}
}
