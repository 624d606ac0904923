package wire

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// Done gets the reply of a call, once, on one of the client's goroutines, or on Call's own when the call fails at once. It must
// not block: all calls of a connection wait for it. It may call Call.
type Done interface {
	// Done may keep neither the Reply nor its Message.
	Done(r *Reply)
}

// DoneFunc is a function as Done. A closure costs an allocation a call.
type DoneFunc func(r *Reply)

// Done implements Done.
func (f DoneFunc) Done(r *Reply) { f(r) }

// Reply is how a call ended.
type Reply struct {
	Code    codes.Code
	Message []byte // the response when Code is OK; valid during Done only
	Text    string // the server's grpc-message, or why the call failed here
	// Pushback is the server's grpc-retry-pushback-ms, if PushbackSet; negative: do not try again.
	Pushback    time.Duration
	PushbackSet bool
	// SentAt is when Call was called, EndAt when the end was known here.
	SentAt, EndAt time.Time
	// Local says that Code is not the server's: there was no connection, it was lost, or the deadline passed.
	Local bool

	details string // grpc-status-details-bin as it came
	decoded *spb.Status
}

// Details is the server's rich status (google.rpc.Status); nil when there is none that can be read. It is decoded when asked for.
func (r *Reply) Details() *spb.Status {
	if r.decoded != nil || r.details == "" {
		return r.decoded
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(r.details, "="))
	if err != nil {
		return nil
	}
	s := &spb.Status{}
	if proto.Unmarshal(raw, s) != nil {
		return nil
	}
	r.decoded = s
	return s
}

// RetryDelay is how long the server asks to wait (google.rpc.RetryInfo), if it does.
func (r *Reply) RetryDelay() (time.Duration, bool) {
	info := &errdetails.RetryInfo{}
	if !r.detail(info) || info.GetRetryDelay() == nil {
		return 0, false
	}
	return info.GetRetryDelay().AsDuration(), true
}

// Reason is the reason of the server's google.rpc.ErrorInfo, or "".
func (r *Reply) Reason() string {
	info := &errdetails.ErrorInfo{}
	if !r.detail(info) {
		return ""
	}
	return info.GetReason()
}

func (r *Reply) detail(into proto.Message) bool {
	for _, d := range r.Details().GetDetails() {
		if d.MessageIs(into) {
			return d.UnmarshalTo(into) == nil
		}
	}
	return false
}

func (r *Reply) fail(code codes.Code, text string) {
	r.Code, r.Text, r.Local = code, text, true
}

// head is what counts of a response's headers or trailers.
type head struct {
	httpStatus, contentType string
	status, text, details   string
	pushback                string
	hasStatus, hasPushback  bool
	size                    int // as SETTINGS_MAX_HEADER_LIST_SIZE counts
	malformed               bool
}

// maxHeaderList bounds a response's headers: twice what gRPC implementations send by default.
const maxHeaderList = 16 << 10

// field takes one header; those over the bound are dropped, and the block is malformed.
func (h *head) field(f hpack.HeaderField) {
	h.size += int(f.Size())
	if h.size > maxHeaderList {
		h.malformed = true
		return
	}
	switch f.Name {
	case ":status":
		h.httpStatus = f.Value
	case "content-type":
		h.contentType = f.Value
	case "grpc-status":
		h.status, h.hasStatus = f.Value, true
	case "grpc-message":
		h.text = f.Value
	case "grpc-status-details-bin":
		h.details = f.Value
	case "grpc-retry-pushback-ms":
		h.pushback, h.hasPushback = f.Value, true
	}
}

// informational: a 1xx, to be followed by the real one.
func (h *head) informational() bool { return len(h.httpStatus) == 3 && h.httpStatus[0] == '1' }

// refusal says what is wrong with the headers that begin a response.
func (h *head) refusal() (codes.Code, string) {
	switch {
	case h.malformed:
		return codes.Internal, "response headers over 16 KiB"
	case h.hasStatus && isGRPC(h.contentType):
		return codes.OK, "" // whatever a proxy made of the HTTP status: this is gRPC's answer
	case h.httpStatus != "200":
		return fromHTTP(h.httpStatus), fmt.Sprintf("HTTP status %q", h.httpStatus)
	case !isGRPC(h.contentType):
		return codes.Unknown, fmt.Sprintf("content-type %q is not gRPC's", h.contentType)
	}
	return codes.OK, ""
}

func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// into writes the trailers into the reply.
func (h *head) into(r *Reply) {
	if h.malformed {
		r.fail(codes.Internal, "response trailers over 16 KiB")
		return
	}
	if !h.hasStatus {
		r.fail(codes.Internal, "the response ended without a grpc-status")
		return
	}
	n, err := strconv.ParseUint(h.status, 10, 32)
	r.Code, r.Text, r.details = codes.Code(n), decodeText(h.text), h.details
	if err != nil {
		r.Code, r.Text = codes.Unknown, fmt.Sprintf("grpc-status %q is no number", h.status)
	}
	if h.hasPushback {
		ms, err := strconv.ParseInt(h.pushback, 10, 32)
		if err != nil {
			ms = -1 // gRPC's rule (A6): what cannot be read says do not try again
		}
		r.Pushback, r.PushbackSet = time.Duration(ms)*time.Millisecond, true
	}
}

// decodeText undoes the percent-encoding of grpc-message; what is not an encoding stays as it is.
func decodeText(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// fromHTTP is gRPC's mapping of HTTP statuses (doc/http-grpc-status-mapping.md).
func fromHTTP(status string) codes.Code {
	n, _ := strconv.Atoi(status) // not a number: as any other
	switch n {
	case http.StatusBadRequest:
		return codes.Internal
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.Unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return codes.Unavailable
	}
	return codes.Unknown
}

// fromReset is gRPC's mapping of HTTP/2 error codes (PROTOCOL-HTTP2.md).
func fromReset(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeEnhanceYourCalm:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	}
	return codes.Internal
}
