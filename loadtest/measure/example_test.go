package measure_test

import (
	"fmt"

	"github.com/surgegate/surgegate/loadtest/measure"
)

func ExampleJudge() {
	share, err := measure.NewThreshold("completed_share", ">= 99 %")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range measure.Judge([]measure.Threshold{share}, measure.Arm{People: 1000, Completed: 985}) {
		fmt.Println(v.Name, "is", v.Value, "and should be", v.Bound, v.OK)
	}
	// Output: completed_share is 98.5 % and should be >= 99 % false
}
