// Speed compares MorningAI's engines with other task queues on SQLite or Redis,
// on this machine, in one run.
//
//	go run ./speed           the full table, some minutes
//	go run ./speed -quick    a shorter one
//	go run ./speed -gate     a shorter one, compared with the recorded ratios
//	go run ./speed -record   the full table, kept in speed/ratios.json
//	go run ./speed -redis    the Redis engine beside asynq; the flags above hold
//	go run ./speed -steady   half of the Redis engine's capacity for a minute
//
// Rates depend on the disk and on what else runs; ratios from one run do so
// much less, and only they are compared.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := mainErr(ctx)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		stop()
		os.Exit(1)
	}
}

func mainErr(ctx context.Context) error {
	flags := flag.NewFlagSet("speed", flag.ContinueOnError)
	child := flags.Bool("child", false, "run one measure as told on standard input; used by the program itself")
	quick := flags.Bool("quick", false, "shorter measures, three rounds, a smaller large queue")
	doGate := flags.Bool("gate", false, "fail on a ratio 30 % below the recorded one; implies -quick")
	doRecord := flags.Bool("record", false, "keep the table in the file of recorded ratios")
	withRedis := flags.Bool("redis", false, "compare the Redis engine with asynq, each on a fresh redis-server")
	doSteady := flags.Bool("steady", false, "see that half of the Redis engine's capacity holds for a minute without a growing backlog")
	file := flags.String("ratios", "", "the file of recorded ratios (default speed/ratios.json, with -redis speed/ratios-redis.json)")
	dir := flags.String("dir", "", "folder on the disk to measure (default: the system's folder for temporary files)")
	rounds := flags.Int("rounds", 0, "rounds of each measure, at least 3 for a table worth showing")
	only := flags.String("only", "", "measures to take, separated by semicolons, such as \""+endToEnd+";"+latency+"\"")
	profile := flags.String("profile", "", "folder for CPU profiles of MorningAI's side, one per measure")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *child {
		return beChild(ctx, os.Stdin, os.Stdout)
	}
	s := fullRun()
	if *quick || *doGate {
		s = quickRun()
	}
	if s.store = onSQLite; *withRedis || *doSteady {
		s.store = onRedis
	}
	if *file == "" {
		*file = map[store]string{onSQLite: "speed/ratios.json", onRedis: "speed/ratios-redis.json"}[s.store]
	}
	if *rounds > 0 {
		s.rounds = *rounds
	}
	if *only != "" {
		s.only = strings.Split(*only, ";")
	}
	s.profile, s.log = *profile, os.Stderr

	var recorded record
	if *doGate {
		var err error
		if recorded, err = readRecord(*file); err != nil {
			return err
		}
	}
	var err error
	if s.dir, err = os.MkdirTemp(*dir, "morningai-speed-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)

	if *doSteady {
		return holdSteady(ctx, s, os.Stdout)
	}
	rows, err := take(ctx, s)
	if err != nil {
		return err
	}
	machine := fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	fmt.Printf("%s; %d rounds, medians; %s; a ratio says how many times better MorningAI is in this run\n\n",
		machine, s.rounds, time.Now().UTC().Format(time.DateOnly))
	if err := printTable(os.Stdout, rows); err != nil {
		return err
	}
	if *doRecord {
		return writeRecord(*file, record{
			Recorded: time.Now().UTC().Format(time.DateOnly), Machine: machine, Rounds: s.rounds, Rows: rows,
		})
	}
	if *doGate {
		fallen, err := judge(ctx, s, recorded.Rows, rows)
		if err != nil {
			return err
		}
		if len(fallen) > 0 {
			return fmt.Errorf("%d ratios have fallen more than %.0f %% below the recorded table:\n  %s%s",
				len(fallen), slack*100, strings.Join(fallen, "\n  "), busy(rows))
		}
		fmt.Println("\nno ratio lies more than 30 % below the recorded table")
	}
	return nil
}

// take measures everything that is wanted.
func take(ctx context.Context, s settings) ([]row, error) {
	rows, err := compare(ctx, s)
	if err != nil {
		return nil, err
	}
	more := scale
	if s.store == onRedis {
		more = spread
	}
	others, err := more(ctx, s)
	return append(rows, others...), err
}

// judge returns what has fallen. One slow moment of the machine is enough to
// move a 99th percentile, so that a measure with a fallen ratio is taken once
// more, at full length, and only what falls again counts.
func judge(ctx context.Context, s settings, recorded, rows []row) ([]string, error) {
	again := fallenMeasures(recorded, rows)
	if len(again) == 0 {
		return gate(recorded, rows), nil
	}
	fmt.Fprintf(s.log, "\nonce more, at full length: %s\n", strings.Join(again, "; "))
	long := fullRun()
	s.seconds, s.part, s.only = long.seconds, long.part, again
	second, err := take(ctx, s)
	if err != nil {
		return nil, err
	}
	return gate(recorded, replaced(rows, second)), nil
}

// busy says so if other programs had a part in the result: they take processor
// time, which we live on, more than disk time, which the peers live on.
func busy(rows []row) string {
	most := 0.0
	for _, r := range rows {
		most = max(most, r.Load)
	}
	if most < 2*float64(runtime.NumCPU()) {
		return ""
	}
	return fmt.Sprintf("\nthe load reached %.1f on %d CPUs: stop what else runs and measure again", most, runtime.NumCPU())
}
