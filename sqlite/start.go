package sqlite

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"time"

	driver "modernc.org/sqlite"

	"github.com/RC918/morningai"
)

//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks a file as ours; "mAIt" in ASCII.
const applicationID = 0x6d414974

const (
	readerCount = 4
	pageSize    = 8192
)

// start opens the connections, brings the file up to date, and rebuilds what
// is kept in memory.
func (e *Engine) start() error {
	w, err := openConn(e.path, false)
	if err != nil {
		return err
	}
	e.w = w
	if err := checkOwner(w); err != nil {
		return err
	}
	// fdatasync leaves out the file's timestamps and is as durable; where it
	// does not exist nothing changes.
	if _, err := driver.Fdatasync(true); err != nil && !isUnavailable(err) {
		return err
	}
	sync := "FULL"
	if e.cfg.sync == SyncNormal {
		sync = "NORMAL"
	}
	for _, sql := range []string{
		fmt.Sprintf("PRAGMA page_size=%d", pageSize), "PRAGMA journal_mode=WAL", "PRAGMA synchronous=" + sync,
		fmt.Sprintf("PRAGMA wal_autocheckpoint=%d", e.cfg.checkpoint), "PRAGMA cache_size=-16000", "PRAGMA temp_store=MEMORY",
	} {
		if err := w.run(sql); err != nil {
			return err
		}
	}
	if err := migrate(w); err != nil {
		return err
	}
	if err := e.checkComplete(); err != nil {
		return err
	}
	if e.cfg.maxBytes > 0 {
		e.maxPages = e.cfg.maxBytes / pageSize
		if err := w.run(fmt.Sprintf("PRAGMA max_page_count=%d", e.maxPages)); err != nil {
			return err
		}
	}
	if err := e.sql.prepare(w); err != nil {
		return err
	}
	e.own = &reader{c: w}
	if err := e.own.prepare(); err != nil {
		return err
	}
	if err := e.openReaders(); err != nil {
		return err
	}
	e.events = newEventLog()
	e.expiryN = time.Now().UnixMicro()
	if err := e.load(); err != nil {
		return err
	}
	return e.recover()
}

// checkOwner refuses a database that is not ours, or newer than this program,
// before anything is written to it.
func checkOwner(c *conn) error {
	tables, err := c.number("SELECT count(*) FROM sqlite_master")
	if err != nil {
		if db, ok := err.(*dbError); ok && db.code&0xff == 26 {
			return foreign(err)
		}
		return err
	}
	app, err := c.number("PRAGMA application_id")
	if err != nil {
		return err
	}
	if tables == 0 && app == 0 {
		return nil
	}
	if app != applicationID {
		return foreign(nil)
	}
	version, err := c.number("PRAGMA user_version")
	if err != nil {
		return err
	}
	known, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	if version > int64(len(known)) {
		return &morningai.Error{Code: morningai.CodeNewerFormat, Op: "open engine",
			Detail: fmt.Sprintf("the task file has format %d and this program knows formats up to %d", version, len(known)),
			Hint:   "use the version of the program that wrote it, or a newer one"}
	}
	return nil
}

func foreign(err error) error {
	return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "open engine", Detail: "the file exists and is not a task file; it was left as it is",
		Hint: "use another path", Err: err}
}

// migrate brings the schema forward, one file of migrations at a time.
func migrate(c *conn) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	slices.Sort(names)
	version, err := c.number("PRAGMA user_version")
	if err != nil {
		return err
	}
	for i := int(version); i < len(names); i++ {
		sql, err := migrations.ReadFile(names[i])
		if err != nil {
			return err
		}
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA application_id=%d;\nPRAGMA user_version=%d;\nCOMMIT;", sql, applicationID, i+1)
		if err := c.script(script); err != nil {
			if c.inTransaction() {
				err = joinErrors(err, c.run("ROLLBACK"))
			}
			return err
		}
	}
	return nil
}

// load reads settings, names, counts and the first ready tasks.
func (e *Engine) load() error {
	if err := e.names.load(e.w); err != nil {
		return err
	}
	var err error
	if e.era, err = e.w.number("SELECT value FROM meta WHERE key='" + metaEra + "'"); err != nil {
		return err
	}
	if e.lastSeq, err = e.w.number("SELECT max(seq) FROM tasks"); err != nil {
		return err
	}
	floor := e.now().UnixMilli()
	ids, err := e.w.prepare("SELECT id FROM tasks ORDER BY id DESC LIMIT 1")
	if err != nil {
		return err
	}
	defer ids.finalize()
	if ok, err := ids.step(); err != nil {
		return err
	} else if ok {
		var last morningai.ID
		copy(last[:], ids.colRaw(0))
		floor = max(floor, prefix(last))
		ids.reset()
	}
	e.recent = newRecentIDs(floor)
	if err := e.loadQueues(); err != nil {
		return err
	}
	if err := e.loadCounts(); err != nil {
		return err
	}
	if err := e.loadNotes(); err != nil {
		return err
	}
	if err := e.loadMembers(); err != nil {
		return err
	}
	if e.nextDue, _, err = first(e.sql.dueMin); err != nil {
		return err
	}
	if e.nextExpiry, _, err = first(e.sql.expMin); err != nil {
		return err
	}
	for key, n := range e.counts {
		if key.status != stQueued || n == 0 {
			continue
		}
		k := e.runFor(key.line, key.prio)
		const head = 16 << 10
		seqs, err := e.sql.nextQueued(key.line.id, key.prio, 0, head)
		if err != nil {
			return err
		}
		k.more = true
		k.fill(seqs, len(seqs) < head)
	}
	return nil
}

func (e *Engine) loadQueues() error {
	s, err := e.w.prepare("SELECT name,paused,concurrency,rate_count,rate_per,version,paused_at,concurrency_at,rate_at FROM queues")
	if err != nil {
		return err
	}
	defer s.finalize()
	for {
		ok, err := s.step()
		if err != nil || !ok {
			return err
		}
		e.applyConfig(morningai.QueueConfig{Name: s.colText(0), Paused: s.colInt(1) != 0, Concurrency: int(s.colInt(2)),
			Rate: morningai.Rate{Count: int(s.colInt(3)), Per: time.Duration(s.colInt(4))}, Version: s.colInt(5),
			Changed: morningai.QueueTimes{Paused: ofMillis(s.colInt(6)), Concurrency: ofMillis(s.colInt(7)), Rate: ofMillis(s.colInt(8))}}, e.now())
	}
}

func (e *Engine) loadCounts() error {
	s, err := e.w.prepare("SELECT line,state,priority,n FROM counts WHERE n<>0")
	if err != nil {
		return err
	}
	defer s.finalize()
	for {
		ok, err := s.step()
		if err != nil || !ok {
			return err
		}
		e.counts[countKey{e.names.line(s.colInt(0)), status(s.colInt(1)), int(s.colInt(2))}] = s.colInt(3)
	}
}

type leaseRow struct {
	seq int64
	run runState
}

// recover closes the books of the run before: it counts a crash, if there was
// one, and returns the tasks that were running to their queues, unless their
// workers may still be at it.
func (e *Engine) recover() error {
	s, err := e.w.prepare("SELECT seq,claim,lease,node,attempt,version,started,grace FROM leases ORDER BY seq")
	if err != nil {
		return err
	}
	defer s.finalize()
	var left []leaseRow
	for {
		ok, err := s.step()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		left = append(left, leaseRow{seq: s.colInt(0), run: runState{claim: s.colInt(1), lease: s.colInt(2),
			node: s.colText(3), attempt: s.colInt(4), version: s.colInt(5), started: s.colInt(6), grace: s.colInt(7)}})
	}
	if left, e.listN, err = appendLists(e.w, left); err != nil {
		return err
	}
	open, err := e.w.number("SELECT value FROM meta WHERE key='" + metaOpen + "'")
	if err != nil {
		return err
	}
	e.era += open
	done := make(chan error, 1)
	e.commitBatch([]*request{{work: &recovery{left: left, lists: e.listN}, done: done}})
	return <-done
}

type recovery struct {
	left  []leaseRow
	lists int64 // the last row of claims
}

func (w *recovery) size() int { return len(w.left) + 1 }

func (w *recovery) apply(t *txn) error {
	if err := t.e.sql.setMeta(metaEra, t.e.era); err != nil {
		return err
	}
	if err := t.e.sql.setMeta(metaOpen, 1); err != nil {
		return err
	}
	for _, l := range w.left {
		it, err := t.findSeq(l.seq)
		if err != nil {
			return err
		}
		// A row that knows the claim has been settled since.
		if it != nil && it.row.status == stQueued && it.row.claim < l.run.claim {
			it.running, it.run = true, l.run
			it.run.cancel = it.row.flags&flagCancel != 0
			if it.run.grace > 0 && !t.e.cfg.takeBack {
				it.run.version = max(it.run.version, it.row.shownVersion(t.e.era)) + 1
				it.installed, it.mark = true, true
				continue
			}
			if err := t.lose(it, morningai.OutcomeLost); err != nil {
				return err
			}
		}
		t.e.sql.leaseDel.int(1, l.seq)
		if err := t.e.sql.leaseDel.exec(); err != nil {
			return err
		}
	}
	t.e.sql.listDelAll.int(1, w.lists)
	return t.e.sql.listDelAll.exec()
}

// leaveClean is the writer's last commit: it notes every task that still runs
// and that no crash has happened.
func (e *Engine) leaveClean() {
	done := make(chan error, 1)
	e.commitBatch([]*request{{work: leaving{}, done: done}})
	if err := <-done; err != nil && e.failed.Load() == nil {
		e.cfg.logger.Error("the task file could not be closed cleanly; the next start treats it as a crash", "error", err)
	}
}

type leaving struct{}

func (leaving) size() int { return 1 }

func (leaving) apply(t *txn) error {
	t.markAll = true
	return t.e.sql.setMeta(metaOpen, 0)
}
