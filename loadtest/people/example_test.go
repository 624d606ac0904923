package people_test

import (
	"fmt"
	"time"

	"github.com/surgegate/surgegate/loadtest/people"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// One person, driven by hand: each answer, mail and waking moves them on.
func ExampleNew() {
	behaviour, err := people.New(people.Config{Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, next := behaviour.Person(42, 0)
	fmt.Println("asks:", next.Op)
	behaviour.Answered(&p, 2*time.Millisecond, people.Answer{}) // accepted: a link is on its way
	behaviour.Mailed(&p, 3*time.Second)
	next = behaviour.Wake(&p) // the mail has been read
	fmt.Println("opens the link:", next.Op)
	behaviour.Answered(&p, p.Due, people.Answer{})
	next = behaviour.Wake(&p) // the password has been typed
	fmt.Println("sends it:", next.Op)
	behaviour.Answered(&p, time.Minute, people.Answer{State: resetv1.State_STATE_DONE})
	fmt.Println("completed:", p.Outcome(time.Minute).Completed)
	// Output:
	// asks: start
	// opens the link: check
	// sends it: complete
	// completed: true
}
