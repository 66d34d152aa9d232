package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/RC918/morningai"
)

const (
	metricsType = "text/plain; version=0.0.4; charset=utf-8"
	// metricsAge is for how long what was read for a scrape is given out: the
	// route is open, and asking again and again must not cost anything.
	metricsAge = time.Second
	// metricsPatience bounds each question that a scrape asks. What cannot be
	// known by then is left out.
	metricsPatience = 500 * time.Millisecond
)

// metrics is what GET /metrics tells. Only requests are counted here; what is
// told of tasks and outages is read when somebody asks.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	waited   *prometheus.HistogramVec
	took     *prometheus.HistogramVec
	types    *bounded
	queues   *bounded
	attempts func() map[morningai.Outcome]int64 // of the server's own handlers; nil if there are none
	age      time.Duration

	mu      sync.Mutex // one scrape at a time
	at      time.Time
	text    []byte
	outages outages
}

func newMetrics(version string, attempts func() map[morningai.Outcome]int64) (*metrics, error) {
	m := &metrics{registry: prometheus.NewRegistry(), attempts: attempts, age: metricsAge, outages: outages{}, types: newBounded(mostTypes), queues: newBounded(mostQueues)}
	m.histograms()
	m.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "morningai_http_request_duration_seconds",
		Help:    "Time from a request to the end of its answer; waiting that the request asked for counts.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
	}, []string{"method", "route", "status"})
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "morningai_build_info", Help: "Always 1; the label says which version runs.",
		ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return 1 })
	for _, c := range []prometheus.Collector{m.requests, m.waited, m.took, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register a metric: %w", err)
		}
	}
	return m, nil
}

// metricsText answers with the text form, read at most a moment ago.
func (a *api) metricsText(c *call) (answer, error) {
	m := a.metrics
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.text == nil || time.Since(m.at) >= m.age {
		// It is for all who ask, so it does not end with the first of them.
		text, err := m.write(a.readings(context.WithoutCancel(c.r.Context())))
		if err != nil {
			return answer{}, err
		}
		m.text, m.at = text, time.Now()
	}
	return answer{http.StatusOK, content{metricsType, m.text}}, nil
}

func (m *metrics) write(now readings) ([]byte, error) {
	momentary := prometheus.NewRegistry()
	if err := momentary.Register(now); err != nil {
		return nil, fmt.Errorf("register what was read: %w", err)
	}
	families, err := prometheus.Gatherers{m.registry, momentary}.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return nil, fmt.Errorf("write metrics: %w", err)
		}
	}
	return b.Bytes(), nil
}

// reading is one value as it was found.
type reading struct {
	name, help string
	kind       prometheus.ValueType
	value      float64
	labels     []string // names and values in turn
}

// readings are what one scrape has found.
type readings []reading

func (r *readings) gauge(name, help string, value float64, labels ...string) {
	*r = append(*r, reading{name, help, prometheus.GaugeValue, value, labels})
}

func (r *readings) counter(name, help string, value float64, labels ...string) {
	*r = append(*r, reading{name, help, prometheus.CounterValue, value, labels})
}

// Describe implements [prometheus.Collector]. What there is to tell depends on
// what can be known, so nothing is promised.
func (r readings) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (r readings) Collect(ch chan<- prometheus.Metric) {
	for _, x := range r {
		var names, values []string
		for i := 0; i < len(x.labels); i += 2 {
			names, values = append(names, x.labels[i]), append(values, x.labels[i+1])
		}
		desc := prometheus.NewDesc(x.name, x.help, names, nil)
		metric, err := prometheus.NewConstMetric(desc, x.kind, x.value, values...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(desc, err)
		}
		ch <- metric
	}
}

// answering notes how long a request took and how it was answered.
type answering struct {
	http.ResponseWriter
	status int
}

// Unwrap lets handlers reach the connection's deadlines.
func (w *answering) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *answering) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answering) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// observe counts a request that has been answered. Its route is the pattern and
// not the path, and a method that no route has is not named: whoever asks must
// not be able to make series.
func (m *metrics) observe(r *http.Request, w *answering, began time.Time) {
	method, pattern := r.Method, r.Pattern
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete:
	default:
		method = "other"
	}
	if pattern == "" || pattern == "/" {
		pattern = "none"
	}
	status := "none" // the connection was cut
	if w.status != 0 {
		status = strconv.Itoa(w.status)
	}
	m.requests.WithLabelValues(method, pattern, status).Observe(time.Since(began).Seconds())
}
