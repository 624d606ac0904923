package stormlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/surgegate/surgegate/pkg/stormlog"
)

func Example() {
	var file bytes.Buffer
	w, err := stormlog.NewWriter(&file, stormlog.Header{T0: time.Unix(0, 0), ID: "number"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for person := range uint64(3) {
		e := stormlog.Event{T: int64(person) * 1000, U: person, Op: stormlog.OpStart, Source: stormlog.SourceMail}
		if err := w.Write(&e); err != nil {
			fmt.Println(err)
		}
	}
	if err := w.Close(); err != nil {
		fmt.Println(err)
	}
	r, err := stormlog.NewReader(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		fmt.Println(e.T, e.U, e.Op, e.Source)
	}
	// Output:
	// 0 0 start mail
	// 1000 1 start mail
	// 2000 2 start mail
}
