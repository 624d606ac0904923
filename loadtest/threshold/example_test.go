package threshold_test

import (
	"fmt"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/threshold"
)

func ExampleJudge() {
	share, err := threshold.New("completed_share", ">= 99 %")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range threshold.Judge([]threshold.Threshold{share}, measure.Arm{People: 1000, Completed: 985}) {
		fmt.Println(v.Name, "is", v.Value, "and should be", v.Bound, v.OK)
	}
	// Output: completed_share is 98.5 % and should be >= 99 % false
}
