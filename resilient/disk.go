package resilient

import (
	"context"
	"log/slog"
	"time"

	"github.com/RC918/morningai"
)

// disk is what is known of the journal's disk. A journal at its limit refuses
// new tasks before anything is written or sent; what runs goes on, and its
// outcomes are written as long as there is any room at all.
type disk struct {
	info    morningai.JournalInfo
	next    time.Time // of the next look
	looking bool
	written int64 // bytes of notes since the last look began
	full    error // an ErrStorageFull
	failed  error // an ErrStorageFailed: stays until the journal is opened again
}

const lookAtDisk = time.Second

// refusing is why no task is accepted, or nil.
func (c *core) refusing() error {
	if c.disk.failed != nil {
		return c.disk.failed
	}
	if d := &c.disk; d.full == nil && c.cfg.limit > 0 && d.info.Bytes+d.written >= c.cfg.limit {
		return journalFull() // until the next look says how much it is
	}
	return c.disk.full
}

func journalFull() *morningai.Error {
	return &morningai.Error{Code: morningai.CodeStorageFull, Op: "enqueue", Detail: "the journal has reached its size limit",
		Hint: "bring Redis back, so that the journal empties, or raise the limit", RetryAfter: 5 * time.Second}
}

// noteDisk takes what a call of the journal says of its disk.
func (c *core) noteDisk(err error) {
	switch morningai.CodeOf(err) {
	case morningai.CodeStorageFailed:
		if c.disk.failed == nil {
			c.disk.failed = err
			c.log(slog.LevelError, "the journal can no longer be written, no task is accepted until a restart", "error", err)
		}
	case morningai.CodeStorageFull:
		c.fill(err)
	}
}

func (c *core) fill(err error) {
	if c.disk.full == nil {
		c.log(slog.LevelError, "no task is accepted until the journal has room again", "error", err)
	}
	c.disk.full = err
}

// lookAtJournal compares the journal with its limits.
func (c *core) lookAtJournal() {
	if c.disk.looking || c.closing {
		return
	}
	c.disk.looking = true
	counted := c.disk.written
	onJournal(c, "journal info", c.journal.JournalInfo, func(info morningai.JournalInfo, err error) {
		c.disk.looking, c.disk.next = false, c.now.Add(lookAtDisk)
		if err != nil {
			return
		}
		c.disk.info = info
		c.trimIncidents()
		c.forgetKept()
		c.trimKept()
		c.disk.written -= counted
		full := journalFull()
		switch {
		case c.cfg.limit > 0 && info.Bytes >= c.cfg.limit:
			c.backlog.hurry(c.now) // what has ended elsewhere need not be kept
		case info.Free >= 0 && info.Free < c.cfg.minFree:
			full.Detail, full.Hint = "the disk of the journal has less free space than it must keep", "free space on the disk of the data folder"
		default:
			c.makeRoom()
			return
		}
		c.fill(full)
	})
}

// makeRoom accepts tasks again if a real write succeeds.
func (c *core) makeRoom() {
	if c.disk.full == nil {
		return
	}
	c.write("probe the journal", func(ctx context.Context) error { return c.journal.Probe(ctx) }, func(err error) {
		if err == nil && c.disk.full != nil {
			c.disk.full = nil
			c.log(slog.LevelInfo, "tasks are accepted again")
		}
	})
}
