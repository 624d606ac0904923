package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
)

// childEnv names the database of a child that applies batches until it is killed.
const childEnv = "SURGEGATE_TEST_SQLITE_CHILD"

const childAccounts = 64

func childID(i int) string { return fmt.Sprint("crash-", i) }

// childHash tells which round wrote it.
func childHash(round int) credstore.Secret { return credstore.Secret(phc + "." + strconv.Itoa(round)) }

// child applies a batch over all accounts in each round, and prints the round once it has been answered.
func child(path string) {
	s, err := sqlite.New(context.Background(), sqlite.Config{Path: path})
	if err != nil {
		log.Fatal(err)
	}
	for round := 1; ; round++ {
		batch := make([]credstore.Change, childAccounts)
		for i := range batch {
			batch[i] = change(childID(i), round)
			batch[i].Password = childHash(round)
		}
		if _, err := s.SetPasswords(context.Background(), batch); err != nil {
			log.Fatal(err)
		}
		fmt.Println(round)
	}
}

// A process that is killed -9 in the middle of its batches leaves whole batches only: every one that was answered, and
// at most one that was not. Each hash stands beside its own sequence, so delivering again changes nothing.
func TestKilledProcessLeavesWholeBatches(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, sqlite.Config{Path: path})
	for i := range childAccounts {
		if err := s.PutAccounts(t.Context(), sqlite.Account{Login: childID(i), Account: credstore.Account{ID: childID(i), Address: "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childEnv+"="+path)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	answered := 0
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if answered, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		if answered == 40 { // what is printed after that is read too: the pipe ends with the process
			if err := command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := command.Wait(); err == nil {
		t.Fatal("it was not killed")
	}
	found, err := s.Lookup(t.Context(), nil, []string{childID(0)})
	if err != nil {
		t.Fatal(err)
	}
	round := answered
	if found[0][0].CurrentHash == childHash(answered+1) {
		round++ // committed, and killed before it was answered
	}
	batch := make([]credstore.Change, childAccounts)
	ids := make([]string, childAccounts)
	for i := range batch {
		batch[i], ids[i] = change(childID(i), round), childID(i)
	}
	if found, err = s.Lookup(t.Context(), nil, ids); err != nil {
		t.Fatal(err)
	}
	results, err := s.SetPasswords(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i := range batch {
		if got := found[i][0].CurrentHash; got != childHash(round) {
			t.Errorf("%s holds %q after round %d was answered", ids[i], got.Reveal(), answered)
		}
		if results[i].Outcome != credstore.AlreadyApplied {
			t.Errorf("%s delivered again: %v", ids[i], results[i])
		}
	}
}
