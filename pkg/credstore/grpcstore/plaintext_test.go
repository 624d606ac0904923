package grpcstore_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/credstoretest"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
)

// keeper is the smallest store that the suite passes: plaintext passwords, one change at a time, no sessions, nothing
// shared. It is what a platform team would begin with.
type keeper struct {
	mutex    sync.Mutex
	accounts map[string]*kept
}

type kept struct {
	credstore.Account
	login, password string
	last            credstore.Change
}

func (k *keeper) Describe(context.Context) (credstore.Description, error) {
	return credstore.Description{Form: credstore.FormPlaintext, MaxLookupBatch: 1, MaxSetBatch: 8}, nil
}

func (k *keeper) Lookup(_ context.Context, identifiers, accountIDs []string) ([][]credstore.Account, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	results := make([][]credstore.Account, len(identifiers)+len(accountIDs))
	for i, key := range slices.Concat(identifiers, accountIDs) {
		for id, a := range k.accounts {
			if i < len(identifiers) && (key == a.login || key == a.Address) || i >= len(identifiers) && key == id {
				results[i] = append(results[i], a.Account)
			}
		}
	}
	return results, nil
}

func (k *keeper) SetPasswords(_ context.Context, changes []credstore.Change) ([]credstore.Result, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	results := make([]credstore.Result, len(changes))
	for i, c := range changes {
		a := k.accounts[c.AccountID]
		switch {
		case a == nil:
			results[i].Outcome = credstore.UnknownAccount
		case c.ChangeID == a.last.ChangeID:
			results[i].Outcome = credstore.AlreadyApplied
		case c.Sequence <= a.last.Sequence:
			results[i].Outcome = credstore.Superseded
		default:
			a.last, a.password, results[i].Outcome = c, c.Password.Reveal(), credstore.Applied
		}
	}
	return results, nil
}

func (k *keeper) Close() error { return nil }

// A backend that is no revoker, takes plaintext and small batches only.
func TestConformanceOfPlaintextBackend(t *testing.T) {
	t.Parallel()
	credstoretest.Run(t, func(t *testing.T) credstoretest.Fixture {
		k := &keeper{accounts: make(map[string]*kept)}
		return credstoretest.Fixture{
			Store: dial(t, grpcstore.Config{Address: serve(t, grpcstore.NewServer(k)), Insecure: true}),
			AddAccount: func(_ context.Context, login string, a credstore.Account) error {
				k.mutex.Lock()
				defer k.mutex.Unlock()
				password := a.CurrentHash.Reveal()
				a.CurrentHash = ""
				k.accounts[a.ID] = &kept{Account: a, login: login, password: password}
				return nil
			},
			Password: func(_ context.Context, id string) (string, error) {
				k.mutex.Lock()
				defer k.mutex.Unlock()
				if a := k.accounts[id]; a != nil {
					return a.password, nil
				}
				return "", fmt.Errorf("no account %s", id)
			},
		}
	})
}
