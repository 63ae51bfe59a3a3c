# Mails in Spanish. See en/mails.ftl.

## Parts of sentences

minutes = { $n ->
    [one] un minuto
   *[other] { $n } minutos
}
seconds = { $n ->
    [one] un segundo
   *[other] { $n } segundos
}
hours = { $n ->
    [one] una hora
   *[other] { $n } horas
}
# Stands after "con".
people = { $contact ->
    [none] el equipo de { $service }
   *[other] el equipo de { $service } ({ $contact })
}

## Parts of several mails

code-line = Su código de { $service } es { $code }
spelled = Cifra por cifra: { $spelled }.
account-why = Recibe este mensaje porque tiene una cuenta de { $service }.
learned-nothing =
    Si no fue usted, no tiene que hacer nada: esa persona no ha averiguado nada y no puede entrar en su cuenta.

## The code of a registration

code-subject = Su código de { $service }
code-enter =
    Introdúzcalo en un plazo de { $ttl } para activar su cuenta. Después podrá solicitar otro.
code-why =
    Recibe este mensaje porque alguien se ha registrado en { $service } con su dirección. Si no fue usted, no tiene que
    hacer nada: sin el código no se crea ninguna cuenta. Para eliminar el registro, abra este enlace en el plazo de un día
    y pulse el botón:
not-me-link = No fui yo

## Somebody registered the address of an account

existing-account-subject = Ya tiene una cuenta de { $service }
existing-account-what =
    Alguien, quizá usted, acaba de registrarse con su dirección. Ya tiene una cuenta, que no ha cambiado.
existing-account-if-you =
    Si fue usted, inicie sesión con la contraseña que eligió para la cuenta. Si la ha olvidado, no sirve de nada volver a
    registrarse: solicite un código para establecer una nueva contraseña o póngase en contacto con { people }.
existing-account-if-not =
    { learned-nothing } Para eliminar ese registro, abra este enlace en el plazo de un día y pulse el botón; su cuenta
    seguirá como está:

## The account was activated

activated-subject = Su cuenta de { $service } está activa
activated-what =
    Su cuenta de { $service } se acaba de activar con un código enviado a esta dirección. Si fue usted, no tiene que hacer
    nada.
activated-if-not =
    Si no fue usted, alguien puede leer su correo. Cambie primero la contraseña de su buzón y después póngase en contacto
    con { people } para que eliminen la cuenta.

## The people who run the service activated the account

activated-by-operator-subject = { activated-subject }
activated-by-operator-what =
    El equipo de { $service } ha activado su cuenta. Su contraseña es la que eligió al registrarse.
activated-by-operator-if-not = Si usted no se registró, póngase en contacto con { people }.

## The password was changed

password-changed-subject = Se ha cambiado su contraseña de { $service }
password-changed-what =
    La contraseña de su cuenta de { $service } se acaba de cambiar. Si fue usted, o si lo solicitó, no tiene que hacer
    nada.
password-changed-if-not =
    En caso contrario, es posible que alguien conociera su contraseña anterior. Solicite un código para establecer una
    nueva o póngase en contacto con { people }. Cambie la contraseña anterior en cualquier otro lugar donde la haya usado.

## The code for a new password

reset-code-subject = Su código para una nueva contraseña de { $service }
reset-code-line = Su código para establecer una nueva contraseña es { $code }
reset-code-enter =
    Introdúzcalo junto con su nueva contraseña en un plazo de { $ttl }. Después podrá solicitar otro.
reset-code-if-not =
    Si no lo solicitó usted, no tiene que hacer nada: nadie puede cambiar su contraseña sin este código. No se lo dé a
    nadie.

## The password was set anew with a code

password-reset-subject = Se ha restablecido su contraseña de { $service }
password-reset-what =
    La contraseña de su cuenta de { $service } se acaba de restablecer con un código enviado a esta dirección. Si fue
    usted, no tiene que hacer nada.
password-reset-if-not =
    Si no fue usted, alguien puede leer su correo. Cambie primero la contraseña de su buzón. Después solicite un código
    para establecer una nueva contraseña de { $service } o póngase en contacto con { people }.

## The code for another address

address-code-subject = Su código de { $service } para esta dirección
address-code-enter =
    Introdúzcalo en un plazo de { $ttl } para que esta sea la dirección de su cuenta de { $service }. Después podrá
    solicitar otro.
address-code-if-not =
    Si no fue usted, no tiene que hacer nada: probablemente alguien se equivocó de dirección. Sin el código no cambia
    nada.

## Somebody wants to move an account to the address of another one

address-taken-subject = Su cuenta de { $service } no ha cambiado
address-taken-what =
    Alguien, quizá usted, ha pedido que esta sea la dirección de otra cuenta de { $service }. Usted ya tiene una cuenta con
    esta dirección, así que nada ha cambiado.
address-taken-if-you =
    Si fue usted, inicie sesión con esta dirección y su contraseña, o elija una dirección distinta para la otra cuenta.

## The address is being changed: to the old one

address-change-subject = Se va a cambiar la dirección de su cuenta de { $service }
address-change-what =
    Alguien, quizá usted, ha pedido cambiar la dirección de su cuenta de { $service }. Si fue usted, no tiene que hacer
    nada.
address-change-if-not =
    Si no fue usted, alguien conoce su contraseña. Abra este enlace en un plazo de { $lifetime }: anula el cambio, y
    después deberá establecer una nueva contraseña.
address-change-link = Anular el cambio

## The change of the address was taken back

address-restored-subject = Su cuenta de { $service } vuelve a tener esta dirección
address-restored-what =
    El cambio de dirección se ha anulado: esta vuelve a ser la dirección de su cuenta de { $service }. La contraseña
    anterior ya no sirve, porque es posible que otra persona la conozca.
address-restored-next =
    Establezca ahora una nueva contraseña: solicite un código como si la hubiera olvidado. Elija una que no use en ningún
    otro sitio.
address-restored-help = Si no lo consigue, póngase en contacto con { people }.
