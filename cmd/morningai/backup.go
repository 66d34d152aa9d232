package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/server"
)

type backupCmd struct {
	Create  backupCreateCmd  `cmd:"" help:"Write everything that a running server, a data folder or a Redis holds into one file."`
	Verify  backupVerifyCmd  `cmd:"" help:"Read the whole of a backup and say what is in it."`
	Restore backupRestoreCmd `cmd:"" help:"Put a backup into a data folder or a Redis that no server uses."`
}

// checkBackups looks at the flags of serve about backups.
func (c *serveCmd) checkBackups() error {
	const needs = "give a folder with --backup-dir"
	switch {
	case c.BackupDir == "" && c.BackupKey != "":
		return usage("--backup-key is about scheduled backups", needs)
	case c.BackupEvery < time.Second || c.BackupEvery > maxBackupEvery:
		return usage("--backup-every must be 1s to 8760h", "")
	case c.BackupKeep < 1:
		return usage("--backup-keep must be 1 or more", "")
	}
	return nil
}

const maxBackupEvery = 365 * 24 * time.Hour

// signing has the flag of commands that sign or check a signature.
type signing struct {
	Key string `type:"path" placeholder:"FILE" env:"MORNINGAI_BACKUP_KEY" help:"File with the key of the signature, of 32 bytes or more; make one with: openssl rand -hex 32"`
}

// retention has the flags of commands that put ended tasks somewhere.
type retention struct {
	RetainSucceeded time.Duration `default:"24h" placeholder:"D" env:"MORNINGAI_RETAIN_SUCCEEDED" help:"How long succeeded tasks stay after their end, as on the server (${default})."`
	RetainFailed    time.Duration `default:"168h" placeholder:"D" env:"MORNINGAI_RETAIN_FAILED" help:"How long failed tasks stay after their end, as on the server (${default})."`
}

func (r *retention) check() error {
	if r.RetainSucceeded < 0 || r.RetainFailed < 0 {
		return usage("--retain-succeeded and --retain-failed must not be negative", "")
	}
	return nil
}

// whenInterrupted adds what an interrupted command has left.
func whenInterrupted(err error, left string) error {
	if errors.Is(err, context.Canceled) {
		return &exitError{exitFailed, &morningai.Error{Detail: "interrupted; " + left}}
	}
	return err
}

func printBackup(s streams, asJSON bool, path string, r *server.BackupReport) error {
	if asJSON {
		return printValue(s, map[string]any{"file": path, "size": r.Size, "signed": r.Signed, "trusted": r.Trusted, "manifest": r.Manifest})
	}
	return show(s.out, describeBackup(path, r, time.Now()))
}

func describeBackup(path string, r *server.BackupReport, now time.Time) string {
	signed := "no"
	switch {
	case r.Trusted:
		signed = good.Render("yes, by this key")
	case r.Signed:
		signed = "yes; give the key with --key to check by whom"
	}
	consistency := "all as of one moment"
	if r.Consistency != "snapshot" {
		consistency = fmt.Sprintf("each task as of a moment within %s", r.FinishedAt.Sub(r.StartedAt).Round(time.Millisecond))
	}
	missing := ""
	if r.Undelivered > 0 {
		missing = warn.Render(fmt.Sprintf("%d entries that a journal had not delivered to Redis", r.Undelivered))
	}
	return fields([][2]string{
		{"file", printable(path)},
		{"size", fmt.Sprintf("%d bytes", r.Size)},
		{"made", moment(r.StartedAt, now)},
		{"by", strings.TrimSpace(fmt.Sprintf("version %s, engine %s", printable(r.Program), printable(r.Engine)))},
		{"tasks", stateCounts(r.States)},
		{"deleted", fmt.Sprint(r.Deleted)},
		{"queues", fmt.Sprintf("%d with settings", r.Queues)},
		{"incidents", fmt.Sprint(r.Incidents)},
		{"consistency", consistency},
		{"missing", missing},
		{"generation", fmt.Sprint(r.Generation)},
		{"signed", signed},
		{"digest", printable(r.Digest)},
	}...)
}

// stateCounts words how many tasks there are in each state.
func stateCounts(states map[morningai.State]int64) string {
	total := int64(0)
	var parts []string
	for _, state := range morningai.States() {
		if n := states[state]; n > 0 {
			total += n
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if total == 0 {
		return "0"
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(parts, ", "))
}
