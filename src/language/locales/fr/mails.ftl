# Mails in French. See en/mails.ftl.

## Parts of sentences

minutes = { $n ->
    [one] { $n } minute
   *[other] { $n } minutes
}
seconds = { $n ->
    [one] { $n } seconde
   *[other] { $n } secondes
}
hours = { $n ->
    [one] { $n } heure
   *[other] { $n } heures
}
# Stands after "contactez".
people = { $contact ->
    [none] l’équipe { $service }
   *[other] l’équipe { $service } ({ $contact })
}

## Parts of several mails

code-line = Votre code { $service } : { $code }
spelled = Chiffre par chiffre : { $spelled }.
account-why = Vous recevez ce message parce que vous avez un compte { $service }.
learned-nothing =
    Si ce n’était pas vous, vous n’avez rien à faire : cette personne n’a rien appris et ne peut pas accéder à votre
    compte.

## The code of a registration

code-subject = Votre code { $service }
code-enter =
    Pour activer votre compte, saisissez ce code : il est valable { $ttl }. Passé ce délai, vous pourrez en demander un
    autre.
code-why =
    Vous recevez ce message parce que quelqu’un s’est inscrit sur { $service } avec votre adresse. Si ce n’était pas
    vous, vous n’avez rien à faire : sans ce code, aucun compte n’est créé. Pour supprimer cette inscription, ouvrez ce
    lien dans les 24 heures et appuyez sur le bouton :
not-me-link = Ce n’était pas moi

## Somebody registered the address of an account

existing-account-subject = Vous avez déjà un compte { $service }
existing-account-what =
    Quelqu’un, peut-être vous, vient de s’inscrire avec votre adresse. Vous avez déjà un compte ; il n’a pas changé.
existing-account-if-you =
    Si c’était vous, connectez-vous avec le mot de passe que vous avez choisi pour ce compte. Si vous l’avez oublié, une
    nouvelle inscription ne sert à rien : demandez un code pour choisir un nouveau mot de passe, ou contactez { people }.
existing-account-if-not =
    { learned-nothing } Pour supprimer cette inscription, ouvrez ce lien dans les 24 heures et appuyez sur le bouton ;
    votre compte restera tel quel :

## The account was activated

activated-subject = Votre compte { $service } est actif
activated-what =
    Votre compte { $service } vient d’être activé avec un code envoyé à cette adresse. Si c’était vous, vous n’avez rien
    à faire.
activated-if-not =
    Si ce n’était pas vous, quelqu’un peut lire vos messages. Changez d’abord le mot de passe de votre messagerie, puis
    contactez { people } pour faire supprimer le compte.

## The people who run the service activated the account

activated-by-operator-subject = { activated-subject }
activated-by-operator-what =
    L’équipe { $service } a activé votre compte. Votre mot de passe est celui que vous avez choisi lors de
    l’inscription.
activated-by-operator-if-not = Si vous ne vous êtes pas inscrit(e), contactez { people }.

## The password was changed

password-changed-subject = Votre mot de passe { $service } a été modifié
password-changed-what =
    Le mot de passe de votre compte { $service } vient d’être modifié. Si c’était vous, ou si vous l’aviez demandé, vous
    n’avez rien à faire.
password-changed-if-not =
    Sinon, quelqu’un connaissait peut-être votre ancien mot de passe. Demandez un code pour en choisir un nouveau, ou
    contactez { people }. Remplacez l’ancien mot de passe partout où vous l’avez utilisé.

## The code for a new password

reset-code-subject = Votre code pour choisir un nouveau mot de passe { $service }
reset-code-line = Votre code pour choisir un nouveau mot de passe : { $code }
reset-code-enter =
    Saisissez ce code avec votre nouveau mot de passe : il est valable { $ttl }. Passé ce délai, vous pourrez en demander
    un autre.
reset-code-if-not =
    Si vous n’avez rien demandé, vous n’avez rien à faire : personne ne peut modifier votre mot de passe sans ce code. Ne
    le communiquez à personne.

## The password was set anew with a code

password-reset-subject = Votre mot de passe { $service } a été réinitialisé
password-reset-what =
    Le mot de passe de votre compte { $service } vient d’être réinitialisé avec un code envoyé à cette adresse. Si
    c’était vous, vous n’avez rien à faire.
password-reset-if-not =
    Si ce n’était pas vous, quelqu’un peut lire vos messages. Changez d’abord le mot de passe de votre messagerie.
    Demandez ensuite un code pour choisir un nouveau mot de passe { $service }, ou contactez { people }.

## The code for another address

address-code-subject = Votre code { $service } pour cette adresse
address-code-enter =
    Pour que cette adresse devienne celle de votre compte { $service }, saisissez ce code : il est valable { $ttl }. Passé
    ce délai, vous pourrez en demander un autre.
address-code-if-not =
    Si ce n’était pas vous, vous n’avez rien à faire : quelqu’un s’est probablement trompé d’adresse. Sans ce code, rien
    ne change.

## Somebody wants to move an account to the address of another one

address-taken-subject = Votre compte { $service } n’a pas changé
address-taken-what =
    Quelqu’un, peut-être vous, a demandé que cette adresse devienne celle d’un autre compte { $service }. Vous avez déjà
    un compte avec cette adresse : rien n’a donc changé.
address-taken-if-you =
    Si c’était vous, connectez-vous avec cette adresse et son mot de passe, ou choisissez une autre adresse pour l’autre
    compte.

## The address is being changed: to the old one

address-change-subject = L’adresse de votre compte { $service } va être modifiée
address-change-what =
    Quelqu’un, peut-être vous, a demandé à modifier l’adresse de votre compte { $service }. Si c’était vous, vous n’avez
    rien à faire.
address-change-if-not =
    Si ce n’était pas vous, quelqu’un connaît votre mot de passe. Ouvrez ce lien, valable { $lifetime } : il annule la
    modification, et vous devrez ensuite choisir un nouveau mot de passe.
address-change-link = Annuler la modification

## The change of the address was taken back

address-restored-subject = Votre compte { $service } a retrouvé cette adresse
address-restored-what =
    La modification a été annulée : cette adresse est de nouveau celle de votre compte { $service }. L’ancien mot de passe
    ne fonctionne plus, car quelqu’un d’autre le connaît peut-être.
address-restored-next =
    Choisissez maintenant un nouveau mot de passe : demandez un code, comme pour un mot de passe oublié. Prenez un mot de
    passe que vous n’utilisez nulle part ailleurs.
address-restored-help = Si cela ne fonctionne pas, contactez { people }.
