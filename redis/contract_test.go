package redis_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/enginetest"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// TestContract runs the suite of all engines against one real server; each
// check has a prefix of its own.
func TestContract(t *testing.T) {
	server := redistest.Start(t)
	var n atomic.Int64
	enginetest.Run(t, enginetest.Harness{New: func(tb testing.TB) enginetest.Storage {
		url := fmt.Sprintf("%s?prefix=t%d", server.URL(), n.Add(1))
		return func(tb testing.TB) morningai.Engine {
			tb.Helper()
			e, err := redis.Open(context.Background(), url, redis.WithOrphanGrace(200*time.Millisecond), redis.WithTimeout(20*time.Second))
			if err != nil {
				tb.Fatal(err)
			}
			return e
		}
	}})
}
