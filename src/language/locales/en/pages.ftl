# Web pages in English. The titles and the advice of problems are in the source code (http/problem_type.rs).

not-me-question = Was it not you?
# After a press that was too early or too late.
not-me-again =
    Nothing has changed yet. Please press the button again: it works from two seconds to an hour after this page was
    opened, because programs that check the links in mails press buttons, too.
not-me-what =
    Somebody registered at { $service } with your address. If that was you, close this page: nothing has happened.
not-me-button-does =
    If it was not you, the button deletes that registration. Its code is worthless then, and you get a ticket with which
    you can register your address at once. An account that you have already stays as it is.
not-me-button = Delete the registration

not-me-deleted = The registration is deleted
not-me-deleted-what = Its code is worthless. If you do not want an account, you need do nothing else.
not-me-ticket = If you want an account, you can register your address at once with this ticket:
not-me-ticket-how =
    The ticket works once, for 15 minutes, in the request header { $header } of the program that registers you; without
    it, your address must wait like everybody’s.

not-me-expired = This link works no more
not-me-expired-what =
    It works once, for a day, and only as long as the registration waits for its code. Nothing has changed.
not-me-expired-newer = If you got another mail after the one with this link, use the link in that one.

not-me-incomplete = This link is not complete
not-me-incomplete-what = Open the link in the mail again, or copy the whole of it, up to the last letter.

not-me-failed = That could not be done just now
not-me-failed-what =
    The registration may still be there. Wait for a moment, and press the button again.

problem-status = { $name }, answered with status { $status }.
problem-operations = All operations and their problems

address-change-question = Take the change back?
address-change-what-page = Somebody asked to change the address of your { $service } account. If that was you, close this page: nothing has happened.
address-change-button-does = If it was not you, the button gives the account this address again and ends its password, because somebody else may know it. You then set a new password by mail.
address-change-restored = Your account has this address again
address-change-restored-what = The old password no longer works. Ask for a code to set a new one, as for a forgotten password. Choose one that you use nowhere else.
address-change-expired-what = It works once, for 72 hours. Nothing has changed.
address-change-taken = The address belongs to another account
address-change-taken-what = Somebody has made another account with this address in the meantime, so the change cannot be taken back. Nothing has changed.
address-change-failed-what = Nothing has changed yet. Wait for a moment, and press the button again.
