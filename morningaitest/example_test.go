package morningaitest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/morningaitest"
)

type Welcome struct {
	Email string `json:"email"`
}

// Inside a test, morningaitest.New(t) does what Open and Close do here.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	kit, err := morningaitest.Open(ctx, dir)
	if err != nil {
		log.Fatal(err)
	}
	defer kit.Close()

	// The program under test: a mail service that is away at first.
	away := true
	welcome := morningai.Handle(kit.App, "welcome", func(_ context.Context, w Welcome) (string, error) {
		if away {
			return "", errors.New("the mail service is away")
		}
		return "sent to " + w.Email, nil
	})
	if _, err := welcome.Enqueue(ctx, Welcome{"ada@example.com"}, morningai.Queue("mail"), morningai.Delay(time.Hour)); err != nil {
		log.Fatal(err)
	}

	// What was enqueued.
	found, err := morningaitest.Enqueued(ctx, kit.App, "welcome",
		morningaitest.InQueue("mail"), morningaitest.Payload(Welcome{"ada@example.com"}), morningaitest.DelayedBy(time.Hour))
	fmt.Println("enqueued:", len(found), err)

	// Time stands still until it is moved.
	n, err := kit.Work(ctx)
	fmt.Println("attempts at once:", n, err)
	kit.Advance(time.Hour)
	n, err = kit.Work(ctx)
	fmt.Println("attempts after an hour:", n, err)

	// The retry.
	away = false
	kit.Advance(time.Minute)
	n, err = kit.Work(ctx)
	fmt.Println("attempts a minute later:", n, err)
	text, err := welcome.Result(ctx, found[0].ID)
	fmt.Println(text, err)
	// Output:
	// enqueued: 1 <nil>
	// attempts at once: 0 <nil>
	// attempts after an hour: 1 <nil>
	// attempts a minute later: 1 <nil>
	// sent to ada@example.com <nil>
}

// Run is the shortest way to call one handler as a task.
func ExampleRun() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	kit, err := morningaitest.Open(ctx, dir)
	if err != nil {
		log.Fatal(err)
	}
	defer kit.Close()

	half := morningai.Handle(kit.App, "half", func(_ context.Context, n int) (int, error) {
		if n%2 != 0 {
			return 0, fmt.Errorf("%w: %w", morningai.ErrSkipRetry, &morningai.TaskError{Code: "odd", Message: "the number is odd"})
		}
		return n / 2, nil
	})
	fmt.Println(morningaitest.Run(ctx, kit, half, 42))
	fmt.Println(morningaitest.Run(ctx, kit, half, 7))
	// Output:
	// 21 <nil>
	// 0 odd: the number is odd
}
