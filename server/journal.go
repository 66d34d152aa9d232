package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/redis"
	"github.com/RC918/morningai/resilient"
	"github.com/RC918/morningai/sqlite"
)

// JournalEntry is something that the journal of a server holds for Redis.
type JournalEntry = resilient.Entry

// JournalEntries returns what the journal in a data folder holds. It needs no
// Redis. While a server uses the folder it is a morningai.ErrLocked; a folder
// without a journal is a morningai.ErrNotFound.
func JournalEntries(ctx context.Context, folder string) (_ []JournalEntry, err error) {
	journal, err := openJournal(ctx, folder, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	return entriesOf(ctx, journal)
}

func entriesOf(ctx context.Context, journal morningai.Journal) ([]JournalEntry, error) {
	var all []JournalEntry
	err := resilient.Held(ctx, journal, func(e JournalEntry) error {
		all = append(all, e)
		return nil
	})
	return all, err
}

// openJournal opens the journal of a folder, and makes none. Tasks that ran on its
// server when that died go back to their queues.
func openJournal(ctx context.Context, folder string, logger *slog.Logger, opts ...sqlite.Option) (*sqlite.Engine, error) {
	path := filepath.Join(folder, journalFile)
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &morningai.Error{Code: morningai.CodeNotFound, Op: "open journal", Detail: fmt.Sprintf("the folder %s holds no journal", folder),
			Hint: "give the data folder of a server that ran with --redis"}
	case err != nil:
		return nil, unusable(folder, "cannot be read", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return sqlite.Open(ctx, path, append(opts, sqlite.WithLogger(logger))...)
}

// Drain says whose journal is delivered, and where.
type Drain struct {
	Data     string
	Redis    Redis // the address, and whether eviction is accepted
	Version  string
	Logger   *slog.Logger           // slog.Default() if nil
	Progress func(left, most int64) // of entries; may be nil
}

// Drained says what became of a journal.
type Drained struct {
	Before []JournalEntry // what it held
	After  []JournalEntry // what it holds: copies of what Redis has, what was set aside, and what is left
	Left   int64          // entries that are still to be delivered; 0: the server is off the list of nodes
}

const (
	drainLook     = 50 * time.Millisecond // between two looks at how far the delivery is
	drainBeat     = time.Second
	drainPatience = 15 * time.Second // with a Redis that has gone away meanwhile
	drainAgain    = 3 * time.Second  // for entries that wait for what other servers hold
	drainStuck    = 2 * time.Minute  // without any progress
)

// DrainJournal delivers what the journal of a server holds that will not come
// back, as that server would after an outage. If nothing is left, the server is
// taken off the list of nodes. Redis has to be there; what is not delivered when
// DrainJournal returns stays in the journal, so that it may be called again.
func DrainJournal(ctx context.Context, d Drain) (_ Drained, err error) {
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	journal, err := openJournal(ctx, d.Data, d.Logger, sqlite.WithoutRemoteWorkers())
	if err != nil {
		return Drained{}, err
	}
	closing := journal.Close
	defer func() { err = errors.Join(err, closing()) }()
	var out Drained
	if out.Before, err = entriesOf(ctx, journal); err != nil {
		return Drained{}, err
	}
	opts, err := knownOf(ctx, journal)
	if err != nil {
		return Drained{}, err
	}
	opts = append(opts, redis.WithLogger(d.Logger), redis.WithTimeout(redisTimeoutJournal))
	if d.Redis.AllowEviction {
		opts = append(opts, redis.WithAnyEviction())
	}
	try, cancel := context.WithTimeout(ctx, redisOpenTime)
	defer cancel()
	shared, err := redis.Open(try, d.Redis.URL, opts...)
	if err != nil {
		return Drained{}, err
	}
	engine, err := resilient.Open(ctx, shared, journal, resilient.WithLogger(d.Logger), resilient.WithPrepare(shared.Prepare),
		resilient.WithLimits(0, 0), resilient.WithMarks(shared.Acknowledged), resilient.WithNode(nodeName(""), nil, d.Version))
	if err != nil {
		return Drained{}, errors.Join(err, shared.Close())
	}
	closing = engine.Close
	n := &drainer{Drain: d, engine: engine}
	if out.Left, err = n.run(ctx); err != nil {
		return Drained{}, err
	}
	if err := n.beat(ctx, out.Left, true); err != nil {
		return Drained{}, err
	}
	out.After, err = entriesOf(ctx, journal)
	for i := range out.After {
		if e := &out.After[i]; out.Left == 0 && e.Where == resilient.InDoubt {
			e.Where = resilient.Copied // it has just been looked for
		}
	}
	return out, err
}

// drainer takes part in the fleet in the place of a server that is gone.
type drainer struct {
	Drain
	engine *resilient.Engine
	self   morningai.Member
}

// run waits until everything is delivered that can be, and returns how much is
// left.
func (n *drainer) run(ctx context.Context) (int64, error) {
	if err := n.introduce(ctx); err != nil {
		return 0, err
	}
	looks := time.NewTicker(drainLook)
	defer looks.Stop()
	var beat, away time.Time
	most, least, progress := int64(0), int64(-1), time.Now()
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-looks.C:
		}
		settled := n.engine.Settled()
		st, err := n.engine.Status(ctx)
		if err != nil {
			return 0, err
		}
		now, left := time.Now(), st.Backlog
		most = max(most, left)
		if n.Progress != nil {
			n.Progress(left, most)
		}
		if least < 0 || left < least {
			least, progress = left, now
		}
		open := st.Contact == morningai.ContactDown || st.Contact == morningai.ContactRecovering || len(st.Away) > 0
		switch {
		case open && away.IsZero():
			away = now
		case open && now.Sub(away) > drainPatience:
			return 0, &morningai.Error{Code: CodeRedisUnavailable, Op: "drain", Detail: fmt.Sprintf("Redis has gone away, and %d entries are left: %s", left, st.Cause),
				Hint: "repeat the command when it is back; nothing is lost, and nothing is delivered twice"}
		case open:
		case settled && left == 0, settled && now.Sub(progress) > drainAgain, now.Sub(progress) > drainStuck:
			return left, nil
		default:
			away = time.Time{}
		}
		if !open && now.Sub(beat) >= drainBeat {
			beat = now
			if err := n.beat(ctx, left, false); err != nil && !passing(err) {
				return 0, err
			}
		}
	}
}

// passing reports whether an error is one of an outage, which is waited out.
func passing(err error) bool {
	return errors.Is(err, redis.ErrUnavailable) || errors.Is(err, morningai.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// introduce finds out under which name the server is on record.
func (n *drainer) introduce(ctx context.Context) error {
	st, err := n.engine.Status(ctx)
	if err != nil {
		return err
	}
	members, err := n.engine.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Journal == st.Journal.ID {
			n.self = m
		}
	}
	n.self.URL, n.self.Version = "", n.Version
	if _, err := rand.Read(n.self.Session[:]); err != nil {
		return fmt.Errorf("make a session: %w", err)
	}
	return nil
}

// beat tells the fleet that somebody delivers what this member holds.
func (n *drainer) beat(ctx context.Context, left int64, leaving bool) error {
	self := n.self
	self.Backlog, self.ContactAt = left, time.Now().UTC()
	_, err := n.engine.Beat(ctx, morningai.BeatRequest{Session: self.Session, Node: self.Node, LeaseTime: morningai.DefaultLease, Member: &self, Leaving: leaving})
	return err
}
