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

// attempts is the number of requests in a row without a byte after which a download
// fails.
const attempts = 5

// download is the download of a file.
type download struct {
	*File
	*Options
	url, path string
}

// get downloads the missing bytes of the part and checks the whole file. It empties a
// part with a wrong checksum. resumed reports whether the part had some bytes before.
func (d *download) get(ctx context.Context) (resumed bool, err error) {
	file, err := d.create(d.path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	have, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	if have > d.Size {
		have = 0
	}
	resumed = have > 0
	for failures := 0; have < d.Size; {
		before := have
		have, err = d.request(ctx, file, have)
		if ctx.Err() != nil {
			return resumed, context.Cause(ctx)
		}
		if err == nil {
			break
		}
		if errors.As(err, new(*permanentError)) {
			return resumed, err
		}
		if have > before {
			failures = 0
		}
		if failures++; failures == attempts {
			return resumed, fmt.Errorf("%w; %d of %d bytes are on disk, fetch it again to continue", err, have, d.Size)
		}
		select {
		case <-time.After(d.pause << (failures - 1)):
		case <-ctx.Done():
			return resumed, context.Cause(ctx)
		}
	}
	if err := file.Sync(); err != nil {
		return resumed, err
	}
	// The file is read back, since the disk may fail as well as the network.
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return resumed, err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, cancellable{ctx, file})
	if err != nil {
		return resumed, err
	}
	if n != d.Size {
		err = &Mismatch{"size", fmt.Sprint(n), fmt.Sprint(d.Size)}
	} else {
		err = d.compare(sum)
	}
	if err != nil {
		return resumed, errors.Join(fmt.Errorf("%s does not have the maker's file: %w; try another mirror", d.url, err), file.Truncate(0))
	}
	return resumed, nil
}

// permanentError is an error that another attempt would not change.
type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// request requests the bytes after the first have bytes and appends them to the file. It
// returns the new number of bytes.
func (d *download) request(ctx context.Context, file partialFile, have int64) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(d.stall, func() { cancel(fmt.Errorf("%s sent nothing for %v", d.url, d.stall)) })
	defer stalled.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return have, &permanentError{err}
	}
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return have, requestError(ctx, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK: // the whole file, even if a range was requested
		have = 0
	case resp.StatusCode == http.StatusPartialContent:
		if r := resp.Header.Get("Content-Range"); !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", have)) {
			return have, &permanentError{fmt.Errorf("%s sent the range %q, want it from byte %d on", d.url, r, have)}
		}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		// The next attempt, without a range, shows what is wrong.
		return 0, fmt.Errorf("%s: %s", d.url, resp.Status)
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return have, fmt.Errorf("%s: %s", d.url, resp.Status)
	default:
		return have, &permanentError{fmt.Errorf("%s: %s; another mirror may have the file", d.url, resp.Status)}
	}
	if n := resp.ContentLength; n >= 0 && have+n != d.Size {
		return have, &permanentError{fmt.Errorf("%s does not have the maker's file: %w; try another mirror", d.url,
			&Mismatch{"size", fmt.Sprint(have + n), fmt.Sprint(d.Size)})}
	}
	if err := file.Truncate(have); err != nil {
		return have, &permanentError{err}
	}
	if _, err := file.Seek(have, io.SeekStart); err != nil {
		return have, &permanentError{err}
	}
	buffer := make([]byte, 1<<17)
	for {
		n, err := resp.Body.Read(buffer)
		stalled.Reset(d.stall)
		if n > 0 && have+int64(n) > d.Size {
			return have, &permanentError{fmt.Errorf("%s sends more than the %d bytes of the maker's file; try another mirror", d.url, d.Size)}
		}
		if n > 0 {
			if _, err := file.Write(buffer[:n]); err != nil {
				if errors.Is(err, syscall.ENOSPC) {
					err = fmt.Errorf("%w: %d of %d bytes are on disk; free some space and fetch it again to continue", err, have, d.Size)
				}
				return have, &permanentError{err}
			}
			have += int64(n)
			d.progress(d.File, have)
		}
		switch {
		case err == io.EOF && have < d.Size:
			return have, fmt.Errorf("%s ended the connection early", d.url)
		case err == io.EOF:
			return have, nil
		case err != nil:
			return have, requestError(ctx, fmt.Errorf("%s: %w", d.url, err))
		}
	}
}

// requestError returns the error of a failed request: the cause of ctx if it is done,
// otherwise err.
func requestError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
