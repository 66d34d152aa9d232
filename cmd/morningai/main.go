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

	"github.com/alecthomas/kong"
)

type commands struct {
	Serve    serveCmd    `cmd:"" help:"Run the API and the workers."`
	Ask      askCmd      `cmd:"" help:"Answer a question from a folder of Markdown documents."`
	Task     taskCmd     `cmd:"" help:"Submit, watch and command tasks."`
	Queue    queueCmd    `cmd:"" help:"List, pause and limit queues."`
	Node     nodeCmd     `cmd:"" help:"List who takes part, and forget who will not come back."`
	Incident incidentCmd `cmd:"" help:"Report the outages that were survived."`
	RQ       rqCmd       `cmd:"" name:"rq" help:"Work with Python programs that use RQ."`
	Journal  journalCmd  `cmd:"" help:"List and deliver what the journal of a server holds that will not come back."`
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
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run carries out one command line and returns the exit code. After printing
// help it does not return: the parser ends the process.
func run(args []string, s streams) int {
	parser, err := kong.New(&commands{},
		kong.Name("morningai"),
		kong.Description(about),
		kong.Writers(s.out, s.err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 80}),
		kong.Vars{"guess": guess},
		kong.BindTo(context.Background(), (*context.Context)(nil)),
		kong.Bind(s),
	)
	if err != nil {
		return report(s.err, fmt.Errorf("the command line is declared wrongly: %w", err))
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return report(s.err, misused(err, args))
	}
	return report(s.err, parsed.Run())
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
