package outagetest

import (
	"fmt"
	"strings"
	"testing"
)

// The tools that break disks break them: tried on the embedded engine, which
// keeps these promises without a Redis.
func TestBrokenDisksOfTheEmbeddedEngine(t *testing.T) {
	t.Parallel()
	yard.start(t)
	enqueue := func(n *node) reply {
		return n.call("POST", "/v1/tasks", spec{"type": "echo", "payload": strings.Repeat("x", 5000)})
	}
	small := newNode(t, "small", "--docs", t.TempDir())
	small.onSmallDisk(smallDisk)
	small.start()
	for range 2 {
		if r := enqueue(small); r.status != 202 {
			t.Fatal(r)
		}
		empty := small.fill(64 << 10)
		until(t, patience, "the disk to be full", func() bool { return enqueue(small).code() == "storage_full" })
		empty()
		until(t, patience, "the disk to have space", func() bool { return enqueue(small).status == 202 })
	}
	bad := newNode(t, "bad", "--docs", t.TempDir())
	bad.start()
	if r := enqueue(bad); r.status != 202 {
		t.Fatal(r)
	}
	bad.failSyncs()
	until(t, patience, "a sync to fail", func() bool { return enqueue(bad).code() == "storage_failed" })
	bad.kill()
	bad.start()
	if r := enqueue(bad); r.status != 202 {
		t.Error(fmt.Sprint("after a restart on a disk that works: ", r))
	}
}
