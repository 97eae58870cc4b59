package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// attempts is how often in a row a connection may fail without bringing a byte.
const attempts = 5

// partial is a file on its way.
type partial struct {
	*File
	*Options
	url, path string
}

// get fetches what is missing of the part and checks all of it. A part with a
// wrong checksum is emptied. resumed says whether some of it was there before.
func (p *partial) get(ctx context.Context) (resumed bool, err error) {
	file, err := p.create(p.path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	have, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	if have > p.Size {
		have = 0
	}
	resumed = have > 0
	for failures := 0; have < p.Size; {
		before := have
		have, err = p.request(ctx, file, have)
		if ctx.Err() != nil {
			return resumed, context.Cause(ctx)
		}
		if err == nil {
			break
		}
		if errors.As(err, new(*final)) {
			return resumed, err
		}
		if have > before {
			failures = 0
		}
		if failures++; failures == attempts {
			return resumed, fmt.Errorf("%w; %d of %d bytes are there, fetch it again to go on", err, have, p.Size)
		}
		select {
		case <-time.After(p.pause << (failures - 1)):
		case <-ctx.Done():
			return resumed, context.Cause(ctx)
		}
	}
	if err := file.Sync(); err != nil {
		return resumed, err
	}
	// What was written is read again: the disk may be as wrong as the network.
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return resumed, err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, cancellable{ctx, file})
	if err != nil {
		return resumed, err
	}
	if n != p.Size {
		err = &Mismatch{"size", fmt.Sprint(n), fmt.Sprint(p.Size)}
	} else {
		err = p.compare(sum)
	}
	if err != nil {
		return resumed, errors.Join(fmt.Errorf("%s has another file than the maker's: %w; try another mirror", p.url, err), file.Truncate(0))
	}
	return resumed, nil
}

// final is an error that another attempt would not mend.
type final struct{ error }

func (e *final) Unwrap() error { return e.error }

// request asks for what is missing behind the first `have` bytes and appends
// it. It returns how many bytes are there then.
func (p *partial) request(ctx context.Context, file partialFile, have int64) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(p.stall, func() { cancel(fmt.Errorf("%s sent nothing for %v", p.url, p.stall)) })
	defer stalled.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return have, &final{err}
	}
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return have, reason(ctx, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK: // all of it, whatever was asked for
		have = 0
	case resp.StatusCode == http.StatusPartialContent:
		if r := resp.Header.Get("Content-Range"); !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", have)) {
			return have, &final{fmt.Errorf("%s sent the range %q, from byte %d on was asked for", p.url, r, have)}
		}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		// Without a range the next attempt shows what is wrong.
		return 0, fmt.Errorf("%s: %s", p.url, resp.Status)
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return have, fmt.Errorf("%s: %s", p.url, resp.Status)
	default:
		return have, &final{fmt.Errorf("%s: %s; another mirror may have the file", p.url, resp.Status)}
	}
	if n := resp.ContentLength; n >= 0 && have+n != p.Size {
		return have, &final{fmt.Errorf("%s has another file than the maker's: %w; try another mirror", p.url,
			&Mismatch{"size", fmt.Sprint(have + n), fmt.Sprint(p.Size)})}
	}
	if err := file.Truncate(have); err != nil {
		return have, &final{err}
	}
	if _, err := file.Seek(have, io.SeekStart); err != nil {
		return have, &final{err}
	}
	buffer := make([]byte, 1<<17)
	for {
		n, err := resp.Body.Read(buffer)
		stalled.Reset(p.stall)
		if n > 0 && have+int64(n) > p.Size {
			return have, &final{fmt.Errorf("%s sends more than the %d bytes of the maker's file; try another mirror", p.url, p.Size)}
		}
		if n > 0 {
			if _, err := file.Write(buffer[:n]); err != nil {
				if errors.Is(err, syscall.ENOSPC) {
					err = fmt.Errorf("%w: %d of %d bytes are there; make room and fetch it again to go on", err, have, p.Size)
				}
				return have, &final{err}
			}
			have += int64(n)
			p.progress(p.File, have)
		}
		switch {
		case err == io.EOF && have < p.Size:
			return have, fmt.Errorf("%s ended the connection early", p.url)
		case err == io.EOF:
			return have, nil
		case err != nil:
			return have, reason(ctx, fmt.Errorf("%s: %w", p.url, err))
		}
	}
}

// reason is why a request failed: what ended its context, if that did.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
