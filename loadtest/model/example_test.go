package model_test

import (
	"fmt"
	"time"

	"github.com/surgegate/surgegate/loadtest/model"
)

// The first minute of 24 August 2022, one person in ten thousand.
func ExampleScenario_Arrivals() {
	storm := model.Plex2022()
	arrivals, err := storm.Arrivals(model.Window{Length: time.Minute, Thin: 10_000}, 7)
	if err != nil {
		fmt.Println(err)
		return
	}
	people := 0
	for {
		a, ok := arrivals.Next()
		if !ok {
			break
		}
		if a.Source.Human() {
			people++
		}
	}
	fmt.Printf("at first %.0f people a second; %d in the first minute\n", storm.At(0).People(), people)
	// Output: at first 7500 people a second; 28 in the first minute
}
