"""Search over HTTP, and its page. Searching is search/; started by `steam-assets serve`."""
