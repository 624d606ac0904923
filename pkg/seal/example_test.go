package seal_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

func ExampleOpenKeyring() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	// A worker makes keys; it calls keyring.Maintain about once a minute. A front has Create unset, and no .key files.
	keyring, err := seal.OpenKeyring(dir, seal.Config{Create: true}, clock.System{})
	if err != nil {
		log.Fatal(err)
	}
	store := newStore() // in the program: the queue's records

	ctx := context.Background()
	binding := seal.Binding{Job: reset.NewID(), Ticket: reset.NewID(), Account: keyring.Index().Account("4711"), Lane: reset.LaneHash}
	envelope, err := seal.NewSealer(keyring, store, clock.System{}).Seal(ctx, seal.AudiencePassword, binding, []byte("correct horse battery staple"))
	if err != nil {
		log.Fatal(err)
	}
	opener := seal.NewOpener(keyring, store)
	plaintext, err := opener.Open(ctx, binding, envelope)
	fmt.Println(string(plaintext), err)

	binding.Lane = reset.LaneApply // moved elsewhere, it stays closed
	_, err = opener.Open(ctx, binding, envelope)
	fmt.Println(errors.Is(err, seal.ErrTampered))
	// Output:
	// correct horse battery staple <nil>
	// true
}
