// Command morningai runs background and AI tasks: a server with its workers,
// and the commands that talk to it.
//
// Results go to stdout, progress and logs to stderr. Exit codes: 0 done; 1 the
// thing asked about failed, or an unexpected error; 2 usage; 3 the server
// cannot be reached or answered 503; 4 not found; 5 refused.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

type commands struct {
	EnvFile string `name:"env-file" type:"path" placeholder:"FILE" env:"MORNINGAI_ENV_FILE" help:"Take settings from lines NAME=VALUE, before those of the environment; serve reads it again at SIGHUP."`

	Serve    serveCmd    `cmd:"" help:"Run the API and the workers."`
	Ask      askCmd      `cmd:"" help:"Answer a question from a folder of Markdown documents."`
	Task     taskCmd     `cmd:"" help:"Submit, watch and command tasks."`
	Queue    queueCmd    `cmd:"" help:"List, pause and limit queues."`
	Node     nodeCmd     `cmd:"" help:"List who takes part, and forget who will not come back."`
	Incident incidentCmd `cmd:"" help:"Report the outages that were survived."`
	RQ       rqCmd       `cmd:"" name:"rq" help:"Work with Python programs that use RQ."`
	Journal  journalCmd  `cmd:"" help:"List and deliver what the journal of a server holds that will not come back."`
	Drill    drillCmd    `cmd:"" help:"Stage outages against throw-away Redis servers and count what was lost."`
	Backup   backupCmd   `cmd:"" help:"Create, verify and restore backups of everything."`
	Migrate  migrateCmd  `cmd:"" help:"Move everything from one engine to another; shows what it would do unless --apply is given."`
	Logs     logsCmd     `cmd:"" help:"Show what a server has logged, as far as it is kept."`
	Health   healthCmd   `cmd:"" help:"Say how a running server is."`
	Doctor   doctorCmd   `cmd:"" help:"Look for what is wrong, and say how to put it right; changes nothing."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

const about = `Runs background and AI tasks, each of them durable before it is acknowledged.

Exit codes: 0 done; 1 the thing asked about failed, or an unexpected error; 2 usage; 3 the server cannot be reached or answered 503; 4 not found; 5 refused.`

// streams is where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	// A crash ends the process by SIGABRT. Go's own way is exit code 2, which says
	// wrong usage here: a service manager would not start the program again.
	debug.SetTraceback("crash")
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run carries out one command line and returns the exit code. After printing
// help it does not return: the parser ends the process.
func run(args []string, s streams) int {
	settings := &envFile{}
	settings.find(args)
	if err := settings.apply(); err != nil {
		return report(s.err, err)
	}
	parser, err := newParser(&commands{}, s, settings)
	if err != nil {
		return report(s.err, err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return report(s.err, misused(err, args))
	}
	return report(s.err, parsed.Run())
}

func newParser(c *commands, s streams, settings *envFile) (*kong.Kong, error) {
	parser, err := kong.New(c,
		kong.Name("morningai"),
		kong.Description(about),
		kong.Writers(s.out, s.err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 80}),
		kong.Vars{"guess": guess},
		kong.BindTo(context.Background(), (*context.Context)(nil)),
		kong.Bind(s),
		kong.Bind(settings),
	)
	if err != nil {
		return nil, fmt.Errorf("the command line is declared wrongly: %w", err)
	}
	return parser, nil
}

// parseAgain parses a command line in the environment as the file of settings has
// it now.
func (f *envFile) parseAgain(c *commands, args []string) error {
	if err := f.apply(); err != nil {
		return err
	}
	parser, err := newParser(c, streams{out: io.Discard, err: io.Discard}, f)
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil {
		return misused(err, args)
	}
	return nil
}

// misused turns what the parser says into a usage error that names the help to
// read.
func misused(err error, args []string) error {
	help := "morningai --help"
	var pe *kong.ParseError
	if errors.As(err, &pe) {
		if node := pe.Context.Selected(); node != nil {
			help = node.FullPath() + " --help"
		}
	}
	return usage(withoutPasswords(err.Error(), args), "see "+help)
}
