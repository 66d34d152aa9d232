package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

var benchPayload = json.RawMessage(`{"n":1,"text":"` + strings.Repeat("x", 178) + `"}`) // 200 bytes

func benchSpecs(n int) []morningai.TaskSpec {
	specs := make([]morningai.TaskSpec, n)
	for i := range specs {
		specs[i] = morningai.NewTaskSpec("work", benchPayload)
	}
	return specs
}

func openBench(b *testing.B) (*redistest.Server, *redis.Engine) {
	s := redistest.Start(b)
	e, err := redis.Open(context.Background(), s.URL(), redis.WithTimeout(20*time.Second))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return s, e
}

// report prints tasks per second and what each cost the server.
func report(b *testing.B, s *redistest.Server, before int64) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(float64(cpu(s)-before)/float64(b.N), "redis-us/task")
	b.ReportMetric(0, "ns/op")
}

// cpu is what the server has used so far, in microseconds.
func cpu(s *redistest.Server) int64 {
	var total float64
	for line := range strings.Lines(s.Do("INFO", "cpu")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			var v float64
			fmt.Sscan(value, &v)
			total += v
		}
	}
	return int64(total * 1e6)
}

// BenchmarkEnqueue: a number of producers, so many tasks a call.
func BenchmarkEnqueue(b *testing.B) {
	for _, c := range [][2]int{{1, 1}, {16, 1}, {4, 128}} {
		b.Run(fmt.Sprintf("%dx%d", c[0], c[1]), func(b *testing.B) {
			s, e := openBench(b)
			var left atomic.Int64
			left.Store(int64(b.N))
			memory, before := s.Info("memory", "used_memory"), cpu(s)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range c[0] {
				wg.Go(func() {
					for left.Add(-int64(c[1])) > -int64(c[1]) {
						if _, err := e.Enqueue(context.Background(), benchSpecs(c[1])); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			report(b, s, before)
			b.ReportMetric(float64(s.Info("memory", "used_memory")-memory)/float64(b.N), "bytes/task")
		})
	}
}

// BenchmarkEndToEnd: a backlog claimed and finished by four loops.
func BenchmarkEndToEnd(b *testing.B) {
	for _, batch := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			s, e := openBench(b)
			ctx := context.Background()
			for n := 0; n < b.N; n += 500 {
				if _, err := e.Enqueue(ctx, benchSpecs(min(500, b.N-n))); err != nil {
					b.Fatal(err)
				}
			}
			before := cpu(s)
			var done atomic.Int64
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range 4 {
				session := morningai.SessionID{byte(i + 1)}
				if _, err := e.Beat(ctx, morningai.BeatRequest{Session: session, Types: []string{"work"}, LeaseTime: time.Minute}); err != nil {
					b.Fatal(err)
				}
				wg.Go(func() {
					var last sync.WaitGroup
					defer last.Wait()
					for done.Load() < int64(b.N) {
						got, err := e.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: batch})
						if err != nil {
							b.Error(err)
							return
						}
						if len(got.Grants) == 0 {
							continue
						}
						reports := make([]morningai.Report, len(got.Grants))
						for i, g := range got.Grants {
							reports[i] = morningai.Report{Lease: g.Lease, Outcome: morningai.OutcomeSucceeded, Attempt: 1, StartedAt: g.Task.StartedAt, FinishedAt: time.Now(), Result: json.RawMessage(`null`)}
						}
						last.Wait()
						last.Go(func() { // travels with the next claim
							if _, err := e.Finish(ctx, reports); err != nil {
								b.Error(err)
							}
							done.Add(int64(len(reports)))
						})
					}
				})
			}
			wg.Wait()
			report(b, s, before)
		})
	}
}
