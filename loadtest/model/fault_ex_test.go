package model_test

import (
	"fmt"

	"github.com/surgegate/surgegate/loadtest/model"
)

func ExampleParseFault() {
	f, err := model.ParseFault("store-slow 0.5 at 10s for 20s")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Kind, f.Factor, f.At, f.For)
	_, err = model.ParseFault("gateway-kill at 10")
	fmt.Println(err)
	// Output:
	// store-slow 0.5 10s 20s
	// fault: "10" is no time with its unit; write "KIND [FACTOR] at TIME [for TIME]", such as "store-slow 0.5 at 10s for 20s" or "gateway-kill at 15s"
}
