// Package credstore is the port to the credential store: the downstream that surgegate protects.
//
// # Contract
//
// Every call can be repeated: delivery is at least once. A change is applied at most once (ChangeID) and never an
// older one over a newer one (Sequence). A batch's items are of distinct accounts; what is wrong with one item is in
// that item's result, and an error of the call says nothing of any item. An error of a
// call that wraps ErrOverloaded slows surgegate down and uses up no try; one that wraps ErrConfig is mended by no
// retry; anything else is a fault of the batch and is bisected. Where the caller's context ended a call, its error is
// in the chain too (context.Canceled, or context.DeadlineExceeded together with ErrOverloaded).
//
// Lookup takes identifiers as people typed them, invalid UTF-8 and megabytes of it included: what cannot be an account
// is a miss, not an error.
//
// Adapters pass the exported suite in credstore/credstoretest.
package credstore
