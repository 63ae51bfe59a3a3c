# Web pages in German. See en/pages.ftl.

not-me-question = Waren Sie das nicht?
# After a press that was too early or too late.
not-me-again =
    Bisher hat sich nichts geändert. Bitte drücken Sie noch einmal auf die Schaltfläche: Sie funktioniert von zwei Sekunden
    bis zu einer Stunde nach dem Öffnen dieser Seite, weil auch Programme, die Links in E-Mails prüfen, auf Schaltflächen
    drücken.
not-me-what =
    Jemand hat sich mit Ihrer Adresse bei { $service } registriert. Wenn Sie das waren, schließen Sie diese Seite: Es ist
    nichts geschehen.
not-me-button-does =
    Wenn Sie es nicht waren, löscht die Schaltfläche diese Registrierung. Ihr Code ist dann wertlos, und Sie erhalten ein
    Ticket, mit dem Sie Ihre Adresse sofort registrieren können. Ein Konto, das Sie bereits haben, bleibt, wie es ist.
not-me-button = Registrierung löschen

not-me-deleted = Die Registrierung ist gelöscht
not-me-deleted-what = Ihr Code ist wertlos. Wenn Sie kein Konto möchten, brauchen Sie nichts weiter zu tun.
not-me-ticket = Wenn Sie ein Konto möchten, können Sie Ihre Adresse mit diesem Ticket sofort registrieren:
not-me-ticket-how =
    Das Ticket gilt einmal, 15 Minuten lang, im Request-Header { $header } des Programms, das Sie registriert; ohne das
    Ticket muss Ihre Adresse warten wie jede andere.

not-me-expired = Dieser Link funktioniert nicht mehr
not-me-expired-what =
    Er funktioniert einmal, einen Tag lang, und nur solange die Registrierung auf ihren Code wartet. Es hat sich nichts
    geändert.
not-me-expired-newer =
    Wenn Sie nach der E-Mail mit diesem Link eine weitere erhalten haben, verwenden Sie den Link in dieser.

not-me-incomplete = Dieser Link ist unvollständig
not-me-incomplete-what =
    Öffnen Sie den Link in der E-Mail noch einmal, oder kopieren Sie ihn ganz, bis zum letzten Buchstaben.

not-me-failed = Das ging gerade nicht
not-me-failed-what =
    Die Registrierung besteht möglicherweise noch. Warten Sie einen Augenblick, und drücken Sie noch einmal auf die
    Schaltfläche.

problem-status = { $name }, beantwortet mit dem Status { $status }.
problem-operations = Alle Operationen und ihre Probleme

address-change-question = Änderung rückgängig machen?
address-change-what-page = Jemand wollte die Adresse Ihres Kontos bei { $service } ändern. Wenn Sie das waren, schließen Sie diese Seite: Es ist nichts geschehen.
address-change-button-does = Wenn Sie das nicht waren, gibt die Schaltfläche dem Konto diese Adresse zurück und macht sein Passwort ungültig, weil jemand anderes es kennen könnte. Danach legen Sie per E-Mail ein neues Passwort fest.
address-change-restored = Ihr Konto hat wieder diese Adresse
address-change-restored-what = Das alte Passwort gilt nicht mehr. Fordern Sie einen Code für ein neues an, wie bei einem vergessenen Passwort. Wählen Sie eines, das Sie sonst nirgends verwenden.
address-change-expired-what = Er gilt einmal, 72 Stunden lang. Es hat sich nichts geändert.
address-change-taken = Die Adresse gehört zu einem anderen Konto
address-change-taken-what = Jemand hat inzwischen ein anderes Konto mit dieser Adresse angelegt, deshalb lässt sich die Änderung nicht rückgängig machen. Es hat sich nichts geändert.
address-change-failed-what = Es hat sich noch nichts geändert. Warten Sie einen Moment und drücken Sie die Schaltfläche noch einmal.
