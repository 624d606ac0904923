package screen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Ask writes the question to the process's terminal and reads a line from it, until ctx ends. It fails where there is no
// terminal; an end of input is an empty answer.
func Ask(ctx context.Context, question string) (string, error) {
	// Not standard input: this one can be read with a deadline, so that Ctrl-C ends the question.
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("screen: no terminal to ask on: %w", err)
	}
	defer func() { _ = tty.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = tty.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(tty, question); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(tty).ReadString('\n')
	if ctx.Err() != nil {
		_, _ = io.WriteString(tty, "\n")
		return "", ctx.Err()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return line, nil
}
