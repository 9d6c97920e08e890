"""What both programs do on a terminal; it knows nothing of servers, stores or events.

    escaping    data of others, made fit to be shown
    painting    colours, for those who can see them and want them
    progress    how far long work is, on one line
    completion  what the TAB key adds, in bash, zsh and fish
"""
