package main

import (
	"context"
	"fmt"
	"log"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

type Greet struct {
	Name string `json:"name"`
}

func main() {
	ctx := context.Background()
	engine, err := sqlite.Open(ctx, "tasks.db")
	if err != nil {
		log.Fatal(err)
	}
	app := morningai.New(engine)
	greet := morningai.Handle(app, "greet", func(ctx context.Context, in Greet) (string, error) {
		return "hello " + in.Name, nil
	})
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	task, err := greet.Enqueue(ctx, Greet{Name: "Ada"}, morningai.Queue("mail"), morningai.MaxAttempts(5))
	if err != nil {
		log.Fatal(err)
	}
	text, err := greet.Result(ctx, task.ID) // waits; typed
	fmt.Println(text, err)
	app.Stop(ctx)
}
